// Draws `figures`, Plotly figures as plain values, into #figure-0, #figure-1, ... in the colours of the page.
const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
function draw() {
  for (const [index, figure] of figures.entries()) {
    const layout = { ...figure.layout, font: { color: css("--ink"), family: "system-ui, sans-serif" } };
    for (const axis of ["xaxis", "yaxis"])
      layout[axis] = { ...layout[axis], gridcolor: css("--line"), linecolor: css("--dim"), automargin: true };
    Plotly.react("figure-" + index, figure.data, layout, { responsive: true, displaylogo: false });
  }
}
draw();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
