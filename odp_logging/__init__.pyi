from typing import Final

from . import asgi as asgi
from . import celery as celery
from . import django as django
from . import emulator as emulator
from . import opentelemetry as opentelemetry
from . import optimizely as optimizely
from . import prometheus as prometheus
from . import testing as testing
from . import wsgi as wsgi
from ._capture.context import bind_data as bind_data
from ._capture.context import bind_identifiers as bind_identifiers
from ._capture.context import bound_data as bound_data
from ._capture.context import bound_identifiers as bound_identifiers
from ._capture.context import clear_data as clear_data
from ._capture.context import clear_identifiers as clear_identifiers
from ._client.client import OdpClient as OdpClient
from ._client.flush_on_return import flush_on_return as flush_on_return
from ._client.flushing import aflush as aflush
from ._client.flushing import flush as flush
from ._client.outbox.block import outbox as outbox
from ._client.stats import Stats as Stats
from ._client.totals import stats as stats
from ._config.typed import Settings as Settings
from ._events.event import OdpEvent as OdpEvent
from ._inputs.event import event as event
from ._inputs.filters import ContextFilter as ContextFilter
from ._inputs.filters import HideOdpFields as HideOdpFields
from ._inputs.handler import OdpHandler as OdpHandler
from ._inputs.processor import OdpProcessor as OdpProcessor
from .exceptions import ConfigurationError as ConfigurationError
from .exceptions import InvalidEventError as InvalidEventError
from .exceptions import OdpLoggingError as OdpLoggingError
from .exceptions import OutboxError as OutboxError

__version__: Final[str]
