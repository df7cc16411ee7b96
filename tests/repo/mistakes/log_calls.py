"""Mistakes in log calls, in loggers and in functions of the application."""

from __future__ import annotations

from .mistake import SEND, Mistake, start_and_log

UNSEEN = "the handler is not called; the doctor and README's table name the cause"
PAGE = "ODP does not say what it drops, so a valid event is sent; the page shows it"

LOG_CALLS = [
    Mistake(
        number=13,
        words="odp_acton in the place of odp_action",
        program=start_and_log('"odp_acton": "a", "odp_identifiers": WHO'),
        run='{at}: no event was sent: "odp_acton" is not a field of an event; did you',
        doctor='{at}: "odp_acton" is not a field of an event; did you mean "odp_act',
        plugin=True,
    ),
    Mistake(
        number=14,
        words="odp_data without odp_action",
        program=start_and_log('"odp_data": {"order_id": 5}'),
        run='{at}: no event was sent: "odp_data" is given without "odp_action"',
        doctor='{at}: "odp_data" is given without "odp_action", which makes a record',
        plugin=True,
    ),
    Mistake(
        number=15,
        words="odp_ids in the place of odp_identifiers",
        program=start_and_log('"odp_action": "a", "odp_ids": WHO'),
        run='{at}: the field is ignored: "odp_ids" is not a field of an event; did you',
        doctor='{at}: "odp_ids" is not a field of an event; did you mean "odp_ident',
        plugin=True,
    ),
    Mistake(
        number=16,
        words="identifiers that are a text",
        program=start_and_log('"odp_action": "a", "odp_identifiers": "ada"'),
        run="{at}: event rejected: odp_identifiers must be a dict, not str",
        plugin=True,
    ),
    Mistake(
        number=17,
        words="the only identifier is None",
        program=start_and_log('"odp_action": "a", "odp_identifiers": {"email": None}'),
        run="in fullstack/a, which was not sent: email is empty; pass text that names",
        plugin=True,
    ),
    Mistake(
        number=18,
        words="an identifier that is a number",
        program=start_and_log('"odp_action": "a", "odp_identifiers": {"vuid": 7}'),
        is_delivered=True,
        silent="the number is sent as text, which is what was meant",
    ),
    Mistake(
        number=19,
        words="a name that no identifier of ODP can have",
        program=start_and_log(
            '"odp_action": "m19", "odp_identifiers": {"e-mail": "a"}'
        ),
        run='{at}: the identifier "e-mail" is not one of ODP; did you mean "email"?',
        page="identifier-name",
        is_delivered=True,
    ),
    Mistake(
        number=20,
        words='the fields are nested: extra={"odp": {...}}',
        program=start_and_log('"odp": {"action": "a", "identifiers": WHO}'),
        run='{at}: no event was sent: the fields are nested in "odp"; did you mean',
        doctor='{at}: the fields are nested in "odp"; did you mean "odp_action" and',
        plugin=True,
    ),
    Mistake(
        number=21,
        words="the logger has the level WARNING",
        program="logging.getLogger().addHandler(OdpHandler())\n" + SEND,
        doctor="-> set its level: logging.getLogger().setLevel(logging.INFO)",
        silent=UNSEEN,
    ),
    Mistake(
        number=22,
        words="dictConfig disables the loggers there are",
        program="""\
logging.config.dictConfig({
    "version": 1,
    "handlers": {"odp": {"class": "odp_logging.OdpHandler"}},
    "root": {"level": "INFO", "handlers": ["odp"]},
})
"""
        + SEND,
        doctor="disabled: 1 logger disabled: shop\n"
        '         -> set "disable_existing_loggers": False',
        silent=UNSEEN,
    ),
    Mistake(
        number=23,
        words="propagate=False on a logger without handlers",
        program="start()\nlog.propagate = False\n" + SEND,
        doctor="shop leads to no handler at all: propagate is False there",
        silent=UNSEEN,
    ),
    Mistake(
        number=24,
        words="extra= is forgotten",
        program="""\
start()
log.info("x", {"odp_action": "a", "odp_identifiers": WHO})  # here
""",
        run="{at}: no event was sent: the dict with the odp_* fields is an argument",
        doctor="{at}: the dict with the odp_* fields is an argument of the message",
        plugin=True,
    ),
    Mistake(
        number=25,
        words="the fields as keywords of plain logging",
        program="""\
start()
log.info("x", odp_action="a", odp_identifiers=WHO)  # here
""",
        run="TypeError: Logger._log() got an unexpected keyword argument 'odp_action'",
        doctor="raised TypeError\n         -> see why: python -c 'import shop25'",
        types=True,
    ),
    Mistake(
        number=26,
        words="OdpProcessor after the renderer",
        program="""\
render = structlog.processors.JSONRenderer()
structlog.configure(processors=[render, OdpProcessor()])
structlog.get_logger().info("x", odp_action="a", odp_identifiers=WHO)
""",
        run="OdpProcessor was given a str; put it before the renderer",
        doctor="OdpProcessor stands after JSONRenderer",
    ),
    Mistake(
        number=27,
        words="OdpProcessor without brackets",
        program="""\
render = structlog.processors.JSONRenderer()
structlog.configure(processors=[OdpProcessor, render])
structlog.get_logger().info("x", odp_action="a", odp_identifiers=WHO)
""",
        run="write processors=[..., OdpProcessor(), ...], with brackets",
        doctor="write processors=[..., OdpProcessor(), ...], with brackets",
    ),
    Mistake(
        number=28,
        words="structlog renders before plain logging, without OdpProcessor",
        program="""\
start()
structlog.configure(
    processors=[structlog.processors.JSONRenderer()],
    logger_factory=structlog.stdlib.LoggerFactory(),
)
structlog.get_logger().info("x", odp_action="a", odp_identifiers=WHO)
""",
        doctor="JSONRenderer turns events into text before logging gets them",
        silent="the record has only text, and no part of this library is in the chain",
    ),
    Mistake(
        number=29,
        words="two handlers on one path",
        program="start()\nlog.addHandler(OdpHandler())\n" + SEND,
        run="two OdpHandlers saw the same record for the same account; it is sent once",
        doctor="records of shop pass 2 OdpHandlers to the same destination, on shop",
        is_delivered=True,
    ),
    Mistake(
        number=41,
        words="aflush() without await",
        program="start()\n"
        + SEND
        + """\
async def main() -> None:
    odp_logging.aflush()  # here
asyncio.run(main())
""",
        run="{at}: RuntimeWarning: coroutine 'aflush' was never awaited",
        types=True,
        is_delivered=True,
    ),
    Mistake(
        number=42,
        words="a log call after close()",
        program="start().close()\n" + SEND,
        is_delivered=True,
        silent="it is delivered",
    ),
    Mistake(
        number=43,
        words="a time in the year 2100",
        program=start_and_log(
            '"odp_action": "m43", "odp_identifiers": WHO, "odp_timestamp": 4102444800'
        ),
        run="{at}: the time of the event is in the future by more than an hour",
        page="time-future",
        is_delivered=True,
    ),
    Mistake(
        number=44,
        words="a time in milliseconds",
        program=start_and_log(
            '"odp_action": "a", "odp_identifiers": WHO, "odp_timestamp": 1700000000000'
        ),
        is_delivered=True,
        silent="it is divided by 1000, and counted in Stats.adjusted",
    ),
    Mistake(
        number=45,
        words="a time that is a word",
        program=start_and_log(
            '"odp_action": "a", "odp_identifiers": WHO, "odp_timestamp": "yesterday"'
        ),
        run="{at}: odp_timestamp cannot be read (str). Pass epoch seconds",
        is_delivered=True,
    ),
    Mistake(
        number=46,
        words="an e-mail address in odp_data",
        program=start_and_log(
            '"odp_action": "m46", "odp_identifiers": WHO, "odp_data": {"email": "a"}'
        ),
        run='{at}: "email" is in odp_data and not in odp_identifiers',
        page="field-custom",
        is_delivered=True,
    ),
    Mistake(
        number=47,
        words="a dict inside of odp_data",
        program=start_and_log(
            '"odp_action": "m47", "odp_identifiers": WHO, "odp_data": {"a": {"b": 5}}'
        ),
        run='{at}: "a" in odp_data is a dict, for which ODP has no field',
        page="nested",
        is_delivered=True,
    ),
    Mistake(
        number=48,
        words="before_send raises",
        program="""\
def change(event):
    return event.nothing  # here
start(before_send=change)
"""
        + SEND,
        run="before_send=change raised AttributeError at {at}",
    ),
    Mistake(
        number=49,
        words="before_send has no return",
        program="""\
def change(event):  # here
    event.action
start(before_send=change)
"""
        + SEND,
        run="before_send=change ({at}) never returns an event; no event is sent",
    ),
    Mistake(
        number=50,
        words="bound_identifiers() without with",
        program="""\
start()
odp_logging.bound_identifiers(vuid="v")  # here
log.info("x", extra={"odp_action": "a"})
""",
        run="{at}: bound_identifiers() was called without `with`; it binds nothing",
    ),
    Mistake(
        number=51,
        words="bound identifiers and a QueueHandler",
        program="""\
records = queue.Queue()
queued = logging.handlers.QueueHandler(records)
logging.basicConfig(level="INFO", handlers=[queued])
output = logging.StreamHandler()
listener = logging.handlers.QueueListener(records, OdpHandler(), output)
listener.start()
odp_logging.bind_identifiers(**WHO)
log.info("x", extra={"odp_action": "a"})  # here
listener.enqueue_sentinel()
listener._thread.join()
odp_logging.flush(5)
listener.handle(records.get())
""",
        run="{at}: event rejected: no identifiers in fullstack/a, which was not sent",
    ),
    Mistake(
        number=53,
        words="send_odp_event with its arguments swapped",
        program='OdpClient().send_odp_event({"vuid": "v"}, "purchased")  # here\n',
        run="{at}: send_odp_event takes the action first; the event was not sent",
        types=True,
    ),
]
