// Draws a chart when it comes into sight, saves charts as files, sorts tables, and opens the part that a link leads to.
(() => {
  const embedded = document.getElementById("specs");
  const { texts, specs: shared } = embedded ? JSON.parse(embedded.textContent) : { texts: [], specs: {} };
  const restored = (part) => Array.isArray(part) ? part.map(restored) : part === null || typeof part !== "object" ? part
    : "@" in part ? texts[part["@"]]
      : Object.fromEntries(Object.entries(part).map(([key, value]) => [key, restored(value)]));
  const narrow = window.matchMedia("(max-width: 40rem)");
  const INK = "#1c2430";     // of a saved chart, which has a white background
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

  const views = new Map();
  const name = (place) => place.id.slice("chart-".length);
  const drawOne = async (place) => {
    views.set(place, null);
    try {
      const spec = restored(shared[name(place)]);
      const low = narrow.matches && typeof spec.height === "number" ? { height: Math.min(spec.height, 190) } : {};
      const drawn = await vegaEmbed(place, { ...spec, ...low },
        { config: config(), renderer: "svg", actions: false, tooltip: true });
      views.set(place, drawn.view);
    } catch (error) {     // the other charts are drawn
      place.textContent = `This figure cannot be drawn: ${error.message}`;
    }
  };
  let drawing = Promise.resolve();
  const draw = () => {    // text and lines take the colour of the page, light, dark or printed
    for (const place of document.querySelectorAll(".chart")) {
      if (!views.has(place) && place.offsetParent !== null) drawing = drawing.then(() => views.has(place) || drawOne(place));
    }
    drawing.then(() => { document.documentElement.dataset.drawn = [...views.values()].filter(Boolean).length; });
  };

  const download = (url, file) => Object.assign(document.createElement("a"), { href: url, download: file }).click();
  const save = async (place, kind) => {
    const chart = await views.get(place).toSVG(1);
    const size = new DOMParser().parseFromString(chart, "image/svg+xml").documentElement;
    const [width, height] = ["width", "height"].map((side) => parseFloat(size.getAttribute(side)));
    const svg = chart.replaceAll("currentColor", INK).replace(/<svg [^>]*>/, '$&<rect width="100%" height="100%" fill="white"/>');
    const url = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
    if (kind === "svg") return download(url, `${name(place)}.svg`);
    const picture = new Image();
    picture.src = url;
    await picture.decode();
    const canvas = Object.assign(document.createElement("canvas"), { width: 2 * width, height: 2 * height });
    canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
    return download(canvas.toDataURL("image/png"), `${name(place)}.png`);
  };
  for (const button of document.querySelectorAll("[data-save]")) {
    const place = button.parentElement.parentElement.querySelector(":scope > .chart");
    button.setAttribute("aria-label", `Save this chart as ${button.dataset.save.toUpperCase()}`);
    button.addEventListener("click", () => save(place, button.dataset.save));
  }

  for (const picker of document.querySelectorAll(".pick select")) {
    picker.addEventListener("change", () => {
      for (const choice of picker.closest(".picked").querySelector(":scope > .choices").children) {
        choice.classList.toggle("aside", choice.dataset.choice !== picker.value);
      }
      draw();
    });
  }

  // Rows are sorted within their group; values that are not known come last.
  const value = (row, column) => {
    const cell = row.cells[column], text = cell.dataset.v ?? cell.textContent.trim();
    if (["", "–", "None", "nan"].includes(text)) return null;
    const number = Number(text);
    return Number.isNaN(number) ? text : number;
  };
  const order = (one, other) => typeof one === "number" && typeof other === "number" ? one - other
    : String(one).localeCompare(String(other), undefined, { numeric: true });
  const sort = (table, header, column) => {
    const down = header.getAttribute("aria-sort") === "ascending";
    for (const one of table.tHead.rows[0].cells) one.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0], groups = [[]];
    for (const row of body.rows) {
      if (row.classList.contains("group")) groups.push([row]);
      else groups.at(-1).push(row);
    }
    for (const group of groups) {
      const head = group[0]?.classList.contains("group") ? group.splice(0, 1) : [];
      group.sort((a, b) => {
        const [one, other] = [value(a, column), value(b, column)];
        if (one === null || other === null) return (one === null) - (other === null);
        return down ? order(other, one) : order(one, other);
      });
      body.append(...head, ...group);
    }
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => sort(table, header, column));
    });
  }

  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
    target?.scrollIntoView();
  };
  const all = document.getElementById("open-all");
  all.addEventListener("click", () => {
    const open = all.getAttribute("aria-pressed") !== "true";
    all.setAttribute("aria-pressed", open);
    for (const part of document.querySelectorAll("details.fold")) part.open = open;
  });
  document.addEventListener("toggle", draw, true);
  narrow.addEventListener("change", () => { views.clear(); draw(); });
  window.addEventListener("hashchange", reveal);
  document.querySelector(".bar").addEventListener("click", (event) => {
    if (event.target.hash && event.target.hash === location.hash) reveal();    // no hashchange then
  });
  if (location.hash) reveal();
  draw();
})();
