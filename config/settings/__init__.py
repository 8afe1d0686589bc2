"""The settings of every deploy: one module per concern, each variable declared at its setting."""

# isort: off
from .base import *  # first: the defaults of the others may follow DEBUG

# isort: on
from .logging import *
from .security import *
from .services import *
from .tasks import *
