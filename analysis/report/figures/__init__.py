"""Frames to charts. One Vega-Lite specification gives the chart in the page and the files beside it."""

from .calls import call_charts
from .chart import Chart, library, save
from .domains import domain_charts
from .links import link_charts
from .ranks import lateness_charts
from .series import series_charts

__all__ = ["Chart", "call_charts", "domain_charts", "lateness_charts", "library", "link_charts", "save",
           "series_charts"]
