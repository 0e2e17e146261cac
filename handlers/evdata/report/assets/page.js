"use strict";
(() => {
  const root = document.documentElement;
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const pictures = read("pictures");
  const shapes = read("shapes");
  const number = new Intl.NumberFormat("en-US");
  const compact = new Intl.NumberFormat("en-US", { notation: "compact" });
  const date = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
  const month = new Intl.DateTimeFormat("en-GB", { month: "short", year: "numeric", timeZone: "UTC" });
  const color = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
  const tidy = (value) => (Math.abs(value) >= 10000 ? compact.format(value) : number.format(value));
  const signed = (value) => (value > 0 ? "+" : value < 0 ? "−" : "±") + number.format(Math.abs(value));

  echarts.registerMap("washington", shapes);
  // How the map lies: degrees of longitude are shorter than those of latitude by the cosine of the latitude, 47.4 degrees.
  const SQUEEZE = 0.677;
  const rings = ({ type, coordinates }) => (type === "Polygon" ? [coordinates[0]] : coordinates.map(([ring]) => ring));
  const extent = (points, axis) => points.reduce(([low, high], point) => [Math.min(low, point[axis]), Math.max(high, point[axis])], [180, -180]);
  const spread = (points, axis) => { const [low, high] = extent(points, axis); return high - low; };
  const everywhere = shapes.features.flatMap(({ geometry }) => rings(geometry).flat());
  const SPAN = spread(everywhere, 0);
  const ASPECT = spread(everywhere, 1) / (SPAN * SQUEEZE);
  const widest = (geometry) => Math.max(...rings(geometry).map((ring) => spread(ring, 0)));

  // --- Pieces that the pictures share. Tooltips are elements with text in them, never markup. ---

  function tip(title, lines) {
    const box = document.createElement("div");
    box.className = "tip";
    const head = box.appendChild(document.createElement("b"));
    head.textContent = title;
    for (const [name, value] of lines) {
      const line = box.appendChild(document.createElement("div"));
      line.appendChild(document.createElement("span")).textContent = name;
      line.appendChild(document.createElement("span")).textContent = value;
    }
    return box;
  }
  const text = (size = 13, name = "muted") => ({ color: color(name), fontSize: size, fontFamily: getComputedStyle(document.body).fontFamily });
  const tooltip = (more) => ({
    confine: true, backgroundColor: color("paper"), borderColor: color("neutral"), borderWidth: 1, padding: [8, 12],
    textStyle: text(14, "text"), transitionDuration: 0, extraCssText: "box-shadow: none", ...more,
  });
  const titled = (name, gap, where) => ({ name, nameGap: gap, nameLocation: where, nameTextStyle: text(13) });
  const values = (name, format = tidy) => ({
    type: "value", minInterval: 1, axisLabel: { ...text(), formatter: format }, splitLine: { lineStyle: { color: color("rule") } },
    axisLine: { show: false }, axisTick: { show: false }, splitNumber: 4, ...name,
  });
  const categories = (names, more) => ({
    type: "category", data: names, axisLine: { lineStyle: { color: color("neutral") } }, axisTick: { show: false },
    axisLabel: { ...text(), ...more },
  });
  const legend = (series) => series.length < 2 ? undefined : {
    left: 0, top: 0, icon: "roundRect", itemWidth: 14, itemHeight: 10, itemGap: 18, textStyle: text(14, "text"), selectedMode: false,
    data: series.map(({ name }) => name),
  };
  const lines = (series, at) => series.filter(({ data }) => data[at] != null).map(({ name, data }) => [name, number.format(data[at])]);
  // ECharts reads line breaks and nothing else in an axis label: names have none.
  const across = (spec) => tooltip({ trigger: "axis", axisPointer: { type: "shadow", shadowStyle: { color: color("neutral"), opacity: 0.14 } },
    formatter: ([{ dataIndex }]) => tip(spec.names[dataIndex], lines(spec.series, dataIndex)) });

  // --- Kinds of pictures: (what to draw, how wide it may be) -> height and ECharts' options ---

  const kinds = {
    line({ points, y }, width) {
      const data = points.map(([when, value]) => [Date.parse(when), value]);
      const [first, last] = [data[0][0], data[data.length - 1][0]];
      const beside = (last - first) * (width < 500 ? 0.1 : 0.05) || 864e6;
      const few = data.length * 110 < width ? { customValues: data.map(([when]) => when) } : {}; // then each has its day
      const labelled = new Set(data.length * 90 < width ? data.keys() : [0, data.length - 1]);
      return [width < 500 ? 260 : 340, {
        grid: { left: 8, right: 8, top: 44, bottom: 8, containLabel: true },
        tooltip: tooltip({ trigger: "axis", axisPointer: { lineStyle: { color: color("neutral") } },
          formatter: ([{ value }]) => tip(date.format(value[0]), [[y, number.format(value[1])]]) }),
        xAxis: { type: "time", min: first - beside, max: last + beside, splitNumber: Math.max(2, Math.floor(width / 160)),
          axisLine: { lineStyle: { color: color("neutral") } }, axisTick: { show: false },
          axisLabel: { ...text(), ...few, hideOverlap: true, ...(few.customValues ? {} : { showMinLabel: false, showMaxLabel: false }), formatter: (when) => (!few.customValues && last - first > 2e10 ? month : date).format(when) } },
        yAxis: values({ ...titled(y, 16, "end"), nameTextStyle: { ...text(13), align: "left" }, min: 0 }),
        series: [{ type: "line", data, symbol: "circle", symbolSize: 9, lineStyle: { width: 3, color: color("battery") },
          itemStyle: { color: color("battery") }, areaStyle: { color: color("battery"), opacity: 0.1 }, showSymbol: data.length < 40,
          label: { show: true, position: "top", distance: 8, ...text(14, "text"), fontWeight: 600,
            formatter: ({ dataIndex, value }) => (labelled.has(dataIndex) ? number.format(value[1]) : "") } }],
      }];
    },

    stack({ names, series, x, y }, width) {
      return [width < 500 ? 290 : 340, {
        legend: legend(series), tooltip: across({ names, series }),
        grid: { left: 8, right: 8, top: 62, bottom: 26, containLabel: true },
        xAxis: { ...categories(names), ...titled(x, 30, "middle") },
        yAxis: values({ ...titled(y, 14, "end"), nameTextStyle: { ...text(13), align: "left" } }),
        series: series.map(({ name, color: of, data }) => ({ name, type: "bar", stack: "all", data, barCategoryGap: "22%",
          itemStyle: { color: color(of), borderColor: color("paper"), borderWidth: 0.5 } })),
      }];
    },

    lines({ names, series, x, y }, width) {
      return [width < 500 ? 290 : 340, {
        legend: legend(series), tooltip: across({ names, series }),
        grid: { left: 8, right: 16, top: 62, bottom: 26, containLabel: true },
        xAxis: { ...categories(names), ...titled(x, 30, "middle") },
        yAxis: values({ ...titled(y, 14, "end"), nameTextStyle: { ...text(13), align: "left" } }),
        series: series.map(({ name, color: of, data }, index) => ({ name, type: "line", data, symbol: ["circle", "diamond"][index % 2],
          symbolSize: 8, lineStyle: { width: 2.5, color: color(of), type: ["solid", "dashed"][index % 2] }, itemStyle: { color: color(of) } })),
      }];
    },

    bars({ names, series, x }, width) {
      const totals = names.map((_, at) => series.reduce((sum, { data }) => sum + data[at], 0));
      const room = Math.min(width * 0.42, 230);
      const top = series.length > 1 ? 34 : 4;
      return [names.length * 30 + top + 44, {
        legend: legend(series), tooltip: across({ names, series }),
        grid: { left: 0, right: 58, top, bottom: 22, containLabel: true },
        yAxis: { ...categories(names, { ...text(13, "text"), width: room, overflow: "truncate" }), inverse: true },
        xAxis: values({ ...titled(x, 26, "middle"), splitNumber: width < 500 ? 2 : 4 }),
        series: series.map(({ name, color: of, data }, index) => ({ name, type: "bar", stack: "all", data: data.map((value, at) => ({ value,
          itemStyle: { color: color(Array.isArray(of) ? of[at] : of) } })), barWidth: 18,
          itemStyle: { color: color(Array.isArray(of) ? of[0] : of) },
          label: { show: index === series.length - 1, position: "right", ...text(13, "text"), formatter: ({ dataIndex }) => number.format(totals[dataIndex]) } })),
      }];
    },

    signed({ names, data, x }, width) {
      const [low, high] = [Math.min(0, ...data), Math.max(0, ...data)];
      const beside = (high - low) * 0.16;
      return [names.length * 30 + 48, {
        tooltip: tooltip({ trigger: "axis", axisPointer: { type: "shadow", shadowStyle: { color: color("neutral"), opacity: 0.14 } },
          formatter: ([{ dataIndex }]) => tip(names[dataIndex], [[x, signed(data[dataIndex])]]) }),
        grid: { left: 0, right: 40, top: 4, bottom: 22, containLabel: true },
        yAxis: { ...categories(names, { ...text(13, "text"), width: Math.min(width * 0.36, 200), overflow: "truncate" }), inverse: true, axisLine: { show: false } },
        xAxis: { ...values(titled(x, 26, "middle"), (value) => (value ? signed(value) : "0")), min: low && low - beside, max: high && high + beside,
          splitLine: { showMinLine: !low, showMaxLine: !high, lineStyle: { color: color("rule") } }, splitNumber: width < 500 ? 2 : 4,
          axisLabel: { ...text(), showMinLabel: !low, showMaxLabel: !high, formatter: (value) => (value ? signed(value) : "0") } },
        series: [{ type: "bar", barWidth: 18, data: data.map((value) => ({ value, itemStyle: { color: color(value < 0 ? "loss" : "gain") },
          label: { position: value < 0 ? "left" : "right" } })), label: { show: true, ...text(13, "text"), formatter: ({ value }) => signed(value) } }],
      }];
    },

    map({ values: known, steps }, width) {
      const has = new Map(known.map(({ name, value }) => [name, value]));
      const shades = { 1: [4], 2: [2, 4], 3: [1, 3, 5], 4: [1, 2, 4, 5], 5: [1, 2, 3, 4, 5] }[steps.length];
      const shade = (value) => (value ? shades[steps.findLastIndex((from) => value >= from)] : 0);
      const from = (at) => number.format(steps[at]);
      const upTo = (at) => (at + 1 === steps.length ? " or more" : steps[at + 1] - 1 > steps[at] ? ` to ${number.format(steps[at + 1] - 1)}` : "");
      const key = steps.map((_, at) => [shades[at], from(at) + upTo(at)]);
      if (shapes.features.some(({ properties }) => !has.get(properties.name))) key.unshift([0, "none"]);
      const room = new Map(shapes.features.map(({ properties: { name }, geometry }) => [name, widest(geometry) * (width / SPAN)]));
      const size = width < 600 ? 10.5 : 12;
      return [Math.ceil(width * ASPECT) + 8, {
        tooltip: tooltip({ trigger: "item", formatter: ({ name }) => tip(`${name} County`, [["Vehicles", number.format(has.get(name) || 0)]]) }),
        series: [{ type: "map", map: "washington", aspectScale: SQUEEZE, layoutCenter: ["50%", "50%"], layoutSize: width - 2, selectedMode: false,
          data: shapes.features.map(({ properties: { name } }) => {
            const at = shade(has.get(name));
            return { name, value: has.get(name) || 0, itemStyle: { areaColor: color(`shade-${at}`) },
              label: { show: name.length * size * 0.62 < room.get(name) * (width < 600 ? 0.7 : 0.82), color: color(at > 3 ? "shade-text-strong" : "shade-text") } };
          }),
          itemStyle: { borderColor: color("paper"), borderWidth: 1 }, label: { fontSize: size, fontFamily: text().fontFamily },
          emphasis: { label: { show: false }, itemStyle: { areaColor: null, borderColor: color("text"), borderWidth: 2 } } }],
      }, key];
    },
  };

  // --- Drawing, again whenever the width or the theme changes ---

  const drawn = new Map();
  const SHEET = 680; // pixels of A4 and of Letter between their margins
  let paper = false;
  function draw(id) {
    const place = document.getElementById(id);
    const width = paper ? SHEET : Math.floor(place.clientWidth);
    if (!width) return;
    const [height, options, key] = kinds[pictures[id].kind](pictures[id], width);
    let chart = drawn.get(id);
    if (!chart) {
      place.style.height = `${height}px`;
      chart = echarts.init(place, null, { renderer: "svg", width, height });
      drawn.set(id, chart);
    }
    place.style.height = `${height}px`;
    chart.resize({ width, height });
    chart.setOption({ animation: false, textStyle: text(), ...options }, true);
    const svg = place.querySelector("svg");
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`); // so that paper may scale it
    svg.setAttribute("aria-hidden", "true"); // the picture's own label speaks for it
    if (key) explain(place, key);
  }
  // What the shades mean, in HTML, for it must wrap.
  function explain(place, key) {
    const list = place.nextElementSibling?.className === "shades" ? place.nextElementSibling : document.createElement("ul");
    list.className = "shades";
    list.replaceChildren(...key.map(([at, label]) => {
      const item = document.createElement("li");
      item.appendChild(document.createElement("i")).style.background = `var(--shade-${at})`;
      item.append(label);
      return item;
    }));
    place.after(list);
  }
  const drawAll = () => Object.keys(pictures).forEach(draw);
  let wanted = 0;
  const soon = () => { cancelAnimationFrame(wanted); wanted = requestAnimationFrame(drawAll); };
  let width = root.clientWidth;
  addEventListener("resize", () => { if (root.clientWidth !== width) { width = root.clientWidth; soon(); } });

  // --- The theme: the system's until somebody chooses; paper is always light ---

  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  const stored = (...value) => { try { return value.length ? localStorage.setItem("theme", ...value) : localStorage.getItem("theme"); } catch { return null; } };
  let chosen = stored();
  const dark = () => (chosen ? chosen === "dark" : system.matches);
  function show(theme) {
    root.dataset.theme = theme;
    button.textContent = theme === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to ${theme === "dark" ? "light" : "dark"} colours`);
    drawAll();
  }
  const present = () => show(dark() ? "dark" : "light");
  button.hidden = false;
  button.addEventListener("click", () => { chosen = dark() ? "light" : "dark"; stored(chosen); present(); });
  system.addEventListener("change", present);
  addEventListener("beforeprint", () => { paper = true; show("light"); });
  addEventListener("afterprint", () => { paper = false; present(); });
  present();

  // --- How old the version is today; tables as CSV ---

  const version = document.getElementById("version");
  if (version) {
    const days = Math.floor((Date.now() - Date.parse(version.dateTime)) / 864e5);
    if (days >= 0) document.getElementById("age").textContent = days ? `: ${number.format(days)} day${days > 1 ? "s" : ""} ago` : ": today";
  }
  // Spreadsheets take a text that begins so for a formula.
  const field = (cell) => {
    const value = cell.classList.contains("number") ? cell.textContent.replace(/,/g, "") : cell.textContent.replace(/^[=+\-@\t\r]/, "'$&");
    return `"${value.replace(/"/g, '""')}"`;
  };
  for (const details of document.querySelectorAll("details")) {
    const table = details.querySelector("table");
    const save = details.appendChild(document.createElement("button"));
    save.type = "button";
    save.textContent = "Save as CSV";
    save.setAttribute("aria-label", `Save as CSV: ${table.caption.textContent}`);
    save.addEventListener("click", () => {
      const rows = [...table.rows].map((row) => [...row.cells].map(field).join(","));
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob(["\ufeff", rows.join("\r\n"), "\r\n"], { type: "text/csv" }));
      link.download = `${details.closest("figure").querySelector("h3").id.replace("-title", "")}.csv`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    });
  }
})();
