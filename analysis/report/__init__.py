"""Reports: a web page, figures, a terminal. They read frames and compute nothing."""
