"""Analysis of measurements, our own or imported. Needs neither torch nor mpi4py.

    frames.load.load        a run directory, journal or imported log -> one row per measured point
    forecast.extrapolate    points -> times at other rank counts of the same fabric, with intervals
    projection.project      points -> times in another scale-up domain, with intervals
    report.write            data -> report.html, figures, and tables as CSV and JSON
"""
