"""Frames to charts. One Vega-Lite specification gives the chart in the page and the files beside it."""

from .calls import call_charts
from .chart import Chart
from .domains import domain_charts
from .files import Files, save
from .lateness import lateness_charts
from .links import link_charts
from .series import series_charts

__all__ = ["Chart", "Files", "call_charts", "domain_charts", "lateness_charts", "link_charts", "save",
           "series_charts"]
