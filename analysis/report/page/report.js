// Draws every chart from the embedded specifications. Text and lines take the colour of the page, light, dark or printed.
(() => {
  const specs = JSON.parse(document.getElementById("specs").textContent);
  const narrow = window.matchMedia("(max-width: 40rem)");
  const config = () => ({
    background: "transparent", font: "system-ui, sans-serif",
    axis: {
      labelColor: "currentColor", titleColor: "currentColor", domainColor: "currentColor", tickColor: "currentColor",
      gridColor: "currentColor", gridOpacity: 0.12, domainOpacity: 0.4, tickOpacity: 0.4,
    },
    legend: {
      labelColor: "currentColor", titleColor: "currentColor", labelLimit: 240,
      orient: "bottom", direction: "horizontal", columns: narrow.matches ? 3 : 4,
      layout: { bottom: { direction: "vertical", anchor: "start" } },
    },
    view: { stroke: null },
  });
  const draw = async () => {
    for (const [name, spec] of Object.entries(specs)) {
      await vegaEmbed(document.getElementById("chart-" + name), spec, {
        config: config(), renderer: "svg", actions: false, tooltip: true,
      });
    }
    document.documentElement.dataset.drawn = Object.keys(specs).length;
  };
  narrow.addEventListener("change", draw);
  draw();
})();
