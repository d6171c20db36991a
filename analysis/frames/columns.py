"""The columns that identify things: a fabric, a case, a record, a series; and what other tools' logs leave unknown.

Every other list of key columns in `analysis` is made of these. Points that differ in a key are never pooled.
"""

__all__ = ["BY_SOURCE", "CASE", "COMPARED", "FABRIC", "OPTIONAL", "PROJECTED", "RECORD", "RUN", "SERIES",
           "SERIES_BY_SOURCE", "SHOWN", "SIZED", "STATUS", "TEXT", "VARIANT"]

# Where a point was measured: collbench calls this the fabric, and names it in the column `fabric`.
FABRIC = ("system", "transport", "library", "device")

# How an operation was carried out, apart from rank count and size.
VARIANT = ("dtype", "redop", "place", "traffic")

# A case within a run, and a record, which is a case of one run. The order is part of the record ids on disk.
CASE = ("op", *VARIANT, "ranks", "message_bytes")
RECORD = ("run", *CASE)

# What a run says of all its records.
RUN = FABRIC

# How a case ended.
STATUS = ("label", "status", "reason", "checks", "timed_calls", "compared_calls", "probed_calls", "wrong", "fault",
          "notes", "asked_bytes", "at_s", "reproduce")

# What only the logs of other tools say; a record of collbench has None there.
BY_SOURCE = ("algorithm", "protocol", "variant")

# A series is followed over rank counts and sizes: one operation, done one way, on one fabric.
SERIES = (*FABRIC, "op", *VARIANT, "mode")
SERIES_BY_SOURCE = ("algorithm", "variant", "ranks_per_node")       # a series has one value of these too, where known

# A curve over sizes or ranks as tables and figures show it; `SIZED` is one point of it.
SHOWN = ("fabric", "op", "mode", *VARIANT)
SIZED = ("message_bytes", "ranks", *VARIANT)

# A case that two runs have in common. A log may not say what is in OPTIONAL; then it matches anything.
COMPARED = (*CASE, "mode", "algorithm", "protocol")
OPTIONAL = (*VARIANT, "algorithm", "protocol")

# What is carried over to another domain as one projection.
PROJECTED = ("system", "op", "dtype", "traffic")

# Columns that hold text or None.
TEXT = ("op", *VARIANT, "label")
