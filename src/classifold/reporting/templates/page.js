// Draws charts in the color scheme of the reader, sorts tables, shows the images of t-SNE maps.
(() => {
  "use strict";

  const SCHEMES = {
    light: { text: "#1d232a", quiet: "#5b6670", grid: "#e6eaed", surface: "#ffffff" },
    dark: { text: "#e4e8ec", quiet: "#9aa6b1", grid: "#2b3239", surface: "#14181c" },
  };
  const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif';
  const PRINTED_WIDTH = 660; // pixels that fit on A4 and on letter paper
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const coarse = matchMedia("(pointer: coarse)");
  const plots = [];

  const scheme = () => (dark.matches ? SCHEMES.dark : SCHEMES.light);

  // The colors of a layout, in the form that Plotly.relayout expects.
  function colors(layout, chosen) {
    const update = {
      "font.color": chosen.text,
      "font.family": FONT,
      "font.size": 12.5,
      "hoverlabel.bgcolor": chosen.surface,
      "hoverlabel.bordercolor": chosen.quiet,
      "hoverlabel.font.color": chosen.text,
      "legend.font.color": chosen.text,
    };
    for (const axis of Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key))) {
      update[`${axis}.gridcolor`] = chosen.grid;
      update[`${axis}.linecolor`] = chosen.grid;
      update[`${axis}.tickfont.color`] = chosen.quiet;
      update[`${axis}.title.font.color`] = chosen.quiet;
    }
    return update;
  }

  // Mix 30 % of a color with 70 % of the background; both are #rrggbb.
  function mix(color, background) {
    const channels = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
    const ground = channels(background);
    const mixed = channels(color).map((value, i) => Math.round(0.3 * value + 0.7 * ground[i]));
    return `rgb(${mixed.join(",")})`;
  }

  async function paint(plot, chosen, size = {}) {
    await Plotly.relayout(plot, { ...colors(plot.layout, chosen), ...size });
    for (const [position, trace] of plot.data.entries()) {
      if (trace.type !== "heatmap") continue;
      const strong = trace.colorscale[1][1];
      const scale = [[0, mix(strong, chosen.surface)], [1, strong]];
      await Plotly.restyle(plot, { colorscale: [scale] }, [position]);
    }
  }

  async function draw(source) {
    const plot = document.getElementById(source.dataset.chart);
    const { data, layout, orders } = JSON.parse(source.textContent);
    // On a touch screen, dragging over a chart must scroll the page.
    if (coarse.matches) layout.dragmode = false;
    const config = { responsive: true, displayModeBar: false, doubleClick: "reset" };
    try {
      await Plotly.newPlot(plot, data, layout, config);
      await paint(plot, scheme());
      plots.push(plot);
      if (plot.id.startsWith("map-")) point(plot);
      const chooser = document.querySelector(`[data-orders="${plot.id}"]`);
      chooser?.addEventListener("change", () => Plotly.relayout(plot, orders[chooser.value]));
    } catch (error) {
      plot.textContent = `This chart could not be drawn: ${error.message}`;
      console.error(error);
    }
  }

  const card = document.getElementById("pointed");
  const points = JSON.parse(document.getElementById("points").textContent);

  function point(plot) {
    plot.on("plotly_hover", ({ points: [hovered], event }) => {
      const [uri, id, label] = points[hovered.customdata];
      const [labelLine, idLine] = card.querySelectorAll("span");
      card.querySelector("img").src = uri;
      labelLine.textContent = label;
      idLine.textContent = id;
      card.hidden = false;
      const left = Math.min(event.clientX + 16, innerWidth - card.offsetWidth - 8);
      const top = Math.min(event.clientY + 16, innerHeight - card.offsetHeight - 8);
      card.style.left = `${Math.max(left, 8)}px`;
      card.style.top = `${Math.max(top, 8)}px`;
    });
    plot.on("plotly_unhover", () => { card.hidden = true; });
  }
  addEventListener("scroll", () => { card.hidden = true; }, { passive: true });

  // Sort numbers before text, and empty cells last in both directions.
  function compare(first, second, sign) {
    if (first === "" || second === "") return (first === "") - (second === "");
    const difference = Number(first) - Number(second);
    if (!Number.isNaN(difference)) return sign * difference;
    return sign * first.localeCompare(second, undefined, { numeric: true });
  }

  function sort(head) {
    const table = head.closest("table");
    const heads = [...head.parentElement.children];
    const column = heads.indexOf(head);
    const natural = head.classList.contains("number") ? "descending" : "ascending";
    const other = natural === "ascending" ? "descending" : "ascending";
    const direction = head.getAttribute("aria-sort") === natural ? other : natural;
    for (const each of heads) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", direction);
    const sign = direction === "ascending" ? 1 : -1;
    const value = (row) => row.children[column].dataset.value;
    const rows = [...table.tBodies[0].rows];
    rows.sort((first, second) => compare(value(first), value(second), sign));
    table.tBodies[0].append(...rows);
  }

  for (const button of document.querySelectorAll("thead button")) {
    button.addEventListener("click", () => sort(button.parentElement));
  }

  const links = new Map(
    [...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]),
  );
  const inView = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (!isIntersecting) continue;
        for (const link of links.values()) link.removeAttribute("aria-current");
        links.get(target.id)?.setAttribute("aria-current", "true");
      }
    },
    { rootMargin: "-20% 0px -75% 0px" },
  );
  for (const section of document.querySelectorAll("main > section")) inView.observe(section);

  dark.addEventListener("change", () => {
    for (const plot of plots) paint(plot, scheme());
  });
  const folded = () => [...document.querySelectorAll("details.more")].filter((one) => !one.open);
  let unfolded = [];
  addEventListener("beforeprint", () => {
    unfolded = folded();
    for (const one of unfolded) one.open = true;
    for (const plot of plots) {
      paint(plot, SCHEMES.light, { width: Math.min(plot.clientWidth, PRINTED_WIDTH) });
    }
  });
  addEventListener("afterprint", () => {
    for (const one of unfolded) one.open = false;
    for (const plot of plots) paint(plot, scheme(), { width: null, autosize: true });
  });

  (async () => {
    for (const source of document.querySelectorAll("script[data-chart]")) await draw(source);
  })();
})();
