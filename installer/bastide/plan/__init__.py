"""Site, bundle and facts → what would change on which host. Pure: values in, values out.

``needs`` says what a host must have, ``planner`` compares that with its facts, ``preflight`` says
whether it can, ``stage`` describes it to the host agent. Nothing here touches a host, a clock or
a file.
"""
