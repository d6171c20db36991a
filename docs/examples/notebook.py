# %% [markdown]
# # From measurements to a decision
#
# Published nccl-tests results of one 8-GPU H100 node, carried to 72 and 384 accelerators. Editors that know the
# percent format (VS Code, JupyterLab with Jupytext, Spyder) open this file as a notebook; `python notebook.py` runs it.

# %%
from pathlib import Path

import collbench as cb

here = Path(__file__).parent if "__file__" in globals() else Path()
run = cb.load(here / "hgx-h100-8.csv")
print(run)
run

# %% [markdown]
# A row per measured point, in SI units: an ordinary pandas frame.

# %%
largest = run.points[run.points["message_bytes"] == run.points["message_bytes"].max()]
print(largest.pivot_table("busbw_Bps", "op", "ranks") / 1e9)

# %% [markdown]
# What a reader should know before using the numbers, the most important first.

# %%
for finding in run.findings():
    print(f"{finding.severity}: {finding.words}")

# %% [markdown]
# The same operations over more ranks of this fabric. Intervals are 90 % prediction intervals; a series that cannot be
# extrapolated is `refused`, with a reason.

# %%
predicted = run.extrapolate([72, 384])
columns = ["op", "message_bytes", "ranks", "kind", "time_s", "time_lo_s", "time_hi_s"]
print(predicted.loc[predicted["message_bytes"] == predicted["message_bytes"].max(), columns].to_string(index=False))

# %% [markdown]
# The same operations on two other scale-up domains, each with all its accelerators.

# %%
projected = run.project(["nvl72", "cm384"])
fastest = projected.loc[projected.groupby(["op", "asked_bytes"])["time_s"].idxmin()]
print(fastest.groupby(["op", "domain"]).size().unstack(fill_value=0))

# %% [markdown]
# Charts need Altair (`pip install altair`). Without it, `run.chart_spec("all_reduce")` is the Vega-Lite specification.

# %%
try:
    chart = run.plot("all_reduce", "busbw", over="ranks")
except cb.MissingLibraryError as error:
    print(error)
    chart = None
chart

# %% [markdown]
# The whole report, as a page with its figures and tables.

# %%
print(run.report("report"))
