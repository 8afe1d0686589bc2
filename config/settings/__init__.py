"""The settings of every deploy: one module per concern, each variable declared at its setting."""

# isort: off
from .core import *  # first: the defaults of the others may follow DEBUG

# isort: on
from .cache import *
from .database import *
from .email import *
from .logging import *
from .media import *
from .release import *
from .security import *
from .storage import *
from .tasks import *
from .tls import *
from .users import *
