"""Write analysis/report/page/vega.js anew, after a change of VEGALITE or of the pinned vl-convert-python.

    .venv/bin/python tools/bundle_vega.py
"""

import vl_convert

from collbench.analysis.report.vega import BUNDLE, EXPORT, VEGALITE


def bundle() -> str:
    """What the file must contain."""
    return vl_convert.javascript_bundle(EXPORT, VEGALITE)


if __name__ == "__main__":
    BUNDLE.write_text(bundle(), encoding="utf-8")
    print(f"{BUNDLE}: Vega-Lite {VEGALITE}, Vega {vl_convert.get_vega_version()}, "
          f"vega-embed {vl_convert.get_vega_embed_version()}")
