"""What things cost, each measured beside something else in the same run: `make bench`."""

from tests.twelve.bench import logs, pages, tasks

logs.main()
pages.main()
tasks.main()
