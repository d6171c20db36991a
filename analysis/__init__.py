"""From records, anybody's, to a decision. Runs on a laptop: neither torch nor mpi4py is ever imported here.

    tidy.load               a run directory or a journal -> one row per measured point
    models.extrapolate      points -> times at other rank counts of the same fabric, with intervals
    summary.write_report    data -> report.html, figures, points.csv, predictions.csv and .json
    summary.print_report    the same story on a terminal
"""
