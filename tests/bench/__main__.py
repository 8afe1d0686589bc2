"""What things cost, each measured beside something else in the same run: `make bench`."""

from tests.bench import logs

logs.main()
