// Draws every chart from the embedded specifications. Text and lines take the colour of the page, light, dark or printed.
(() => {
  const specs = JSON.parse(document.getElementById("specs").textContent);
  const narrow = window.matchMedia("(max-width: 40rem)");
  const config = () => ({
    background: "transparent", font: "system-ui, sans-serif",
    axis: {
      labelColor: "currentColor", titleColor: "currentColor", domainColor: "currentColor", tickColor: "currentColor",
      labelFontSize: 12, titleFontSize: 12, titleFontWeight: 500,
      gridColor: "currentColor", gridOpacity: 0.12, domainOpacity: 0.4, tickOpacity: 0.4,
    },
    legend: {
      labelColor: "currentColor", titleColor: "currentColor", labelLimit: narrow.matches ? 300 : 480,
      labelFontSize: narrow.matches ? 10.5 : 12, titleFontSize: 12, titleFontWeight: 500,
      symbolBaseFillColor: "#888888", symbolBaseStrokeColor: "#888888",
      orient: "bottom", direction: "horizontal", columns: narrow.matches ? 2 : 5, columnPadding: 14,
      layout: { bottom: { direction: "vertical", anchor: "start" } },
    },
    view: { stroke: null }, text: { fontSize: 12 },
  });
  const draw = async () => {
    for (const [name, spec] of Object.entries(specs)) {
      const place = document.getElementById("chart-" + name);
      try {
        await vegaEmbed(place, spec, { config: config(), renderer: "svg", actions: false, tooltip: true });
      } catch (error) {     // the other charts are drawn
        place.textContent = `This figure cannot be drawn: ${error.message}`;
      }
    }
    document.documentElement.dataset.drawn = Object.keys(specs).length;
  };
  for (const picker of document.querySelectorAll(".pick select")) {
    const pick = () => {
      for (const choice of picker.closest("section").querySelectorAll(".choice")) {
        choice.classList.toggle("aside", choice.dataset.choice !== picker.value);
      }
    };
    picker.addEventListener("change", pick);
    pick();
  }
  narrow.addEventListener("change", draw);
  draw();
})();
