// What the pages do with a script: theme, sorting, filters, comparison.
// The address holds the state of a page, so that a reader can share it and the back button works.
"use strict";

(function () {
  const root = document.documentElement;
  const stored = {
    get: () => { try { return localStorage.getItem("cab-theme"); } catch { return null; } },
    set: (value) => { try { localStorage.setItem("cab-theme", value); } catch { /* not kept */ } },
  };
  if (stored.get()) root.dataset.theme = stored.get();

  const $ = (selector, within = document) => within.querySelector(selector);
  const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
  const state = () => new URLSearchParams(location.search);
  const remember = (parameters, replace) => {
    const text = parameters.toString();
    const address = location.pathname + (text ? "?" + text : "") + location.hash;
    if (text === state().toString()) return;
    history[replace ? "replaceState" : "pushState"](null, "", address);
  };

  function theme() {
    const button = $("#theme");
    button.hidden = false;
    button.addEventListener("click", () => {
      const dark = root.dataset.theme ? root.dataset.theme === "dark"
        : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
      stored.set(root.dataset.theme);
    });
  }

  // Sorting. Rows stay within their group; rows without a value come last in both directions.
  const place = (row, column) => {
    const value = row.cells[column].dataset.v ?? row.cells[column].textContent.trim();
    return value === "" ? null : Number.isNaN(Number(value)) ? value : Number(value);
  };
  const compare = (a, b) => typeof a === "number" && typeof b === "number" ? a - b
    : String(a).localeCompare(String(b), "en");

  function sortTable(table, key, direction) {
    const head = $(`th[data-key="${CSS.escape(key)}"]`, table.tHead);
    if (!head) return;
    $$("th[aria-sort]", table.tHead).forEach((one) => one.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", direction);
    const column = head.cellIndex, sign = direction === "ascending" ? 1 : -1;
    for (const body of table.tBodies) {
      const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
      rows.forEach((row, index) => { row.dataset.i ??= index; });
      const given = (a, b) => a.dataset.i - b.dataset.i;
      rows.sort((a, b) => {
        if (key === "rank") return sign * given(a, b);
        const x = place(a, column), y = place(b, column);
        if (x === null || y === null) return (x === null) - (y === null) || given(a, b);
        return sign * compare(x, y) || given(a, b);
      });
      body.append(...rows);
    }
    table.classList.toggle("unordered", key !== "rank" || sign < 0);
  }

  function sortable(table) {
    const first = $("th[aria-sort]", table.tHead);
    const initial = first && { key: first.dataset.key, direction: first.getAttribute("aria-sort") };
    for (const head of $$("th[data-key]", table.tHead)) {
      const button = document.createElement("button");
      button.type = "button";
      if ($("a", head)) button.setAttribute("aria-label", `Sort by ${head.textContent.trim()}`);
      else button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        const down = head.classList.contains("n") && head.dataset.key !== "rank";
        const turned = now === "ascending" ? "descending" : "ascending";
        const direction = now ? turned : down ? "descending" : "ascending";
        const parameters = state();
        parameters.delete("sort");
        if (!initial || head.dataset.key !== initial.key || direction !== initial.direction) {
          parameters.set("sort", (direction === "descending" ? "-" : "") + head.dataset.key);
        }
        remember(parameters);
        apply();
      });
    }
    return () => {
      const asked = state().get("sort");
      if (asked) sortTable(table, asked.replace(/^-/, ""), asked[0] === "-" ? "descending" : "ascending");
      else if (initial) sortTable(table, initial.key, initial.direction);
    };
  }

  // Filters. The data attributes of a row say what it matches; a group without visible rows is hidden.
  function filters(form, table) {
    form.hidden = false;
    const tools = form.closest("details");
    if (tools) {  // On a phone the board comes first, unless the address already filters it.
      tools.hidden = false;
      tools.open = !matchMedia("(max-width: 46rem)").matches || location.search !== "";
    }
    const names = [...form.elements].map((field) => field.name).filter(Boolean);
    const read = (replace) => {
      const parameters = state();
      for (const name of names) {
        const field = form.elements[name];
        const value = field.type === "checkbox" ? (field.checked ? field.value : "") : field.value.trim();
        if (value) parameters.set(name, value); else parameters.delete(name);
      }
      remember(parameters, replace);
      apply();
    };
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", (event) => read(event.target.type === "search"));
    const clear = $("#clear", form);
    if (clear) clear.addEventListener("click", () => {
      const parameters = state();
      names.forEach((name) => parameters.delete(name));
      remember(parameters);
      apply();
    });
    return () => {
      const parameters = state(), asked = {};
      for (const name of names) {
        const field = form.elements[name];
        asked[name] = parameters.get(name) ?? "";
        if (field.type === "checkbox") field.checked = asked[name] !== "";
        else if (field.value !== asked[name]) field.value = asked[name];
      }
      table.classList.toggle("tasks", Boolean(asked.tasks) || Boolean(asked.domain));
      for (const cell of $$("[data-domain]", table)) cell.hidden = Boolean(asked.domain) && cell.dataset.domain !== asked.domain;
      const has = (text, word) => !word || (text ?? "").split(" ").includes(word);
      let shown = 0, all = 0;
      for (const row of $$("tbody tr[data-entry]", table)) {
        const find = (asked.find ?? "").toLowerCase();
        const keep = row.dataset.entry.toLowerCase().includes(find)
          && has(row.dataset.patterns, asked.pattern) && has(row.dataset.domains, asked.domain)
          && ["family", "time", "status", "new", "used"].every((name) => !asked[name] || row.dataset[name] === asked[name]);
        row.hidden = !keep;
        shown += keep; all += 1;
      }
      for (const body of table.tBodies) {
        for (const row of $$("tr.group", body)) row.hidden = !$("tr[data-entry]:not([hidden])", body);
      }
      $("#count").textContent = shown === all ? "" : `${shown} of ${all}`;
    };
  }

  // Comparison. Student's 97.5 % quantiles for 1 to 30 degrees of freedom, then the normal one.
  const T95 = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179,
    2.16, 2.145, 2.131, 2.12, 2.11, 2.101, 2.093, 2.086, 2.08, 2.074, 2.069, 2.064, 2.06, 2.056,
    2.052, 2.048, 2.045, 2.042];
  const seeds = (cell) => new Map(cell.dataset.seeds.trim().split(" ").filter(Boolean).map((pair) => pair.split(":")));
  const signed = (value) => (value < 0 ? "\u2212" : "+") + Math.abs(value).toFixed(3);

  // Student's quantile of a fractional number of degrees: between whole ones it is nearly linear
  // in their inverse.
  function quantile(degrees) {
    const below = Math.floor(degrees), at = (n) => T95[n - 1] ?? 1.96 + 2.4 / n;
    const share = (1 / below - 1 / degrees) / (1 / below - 1 / (below + 1));
    return at(below) + share * (at(below + 1) - at(below));
  }

  // The difference of two means, with the interval of Welch and the degrees of Satterthwaite.
  function difference(one, other, head) {
    const scale = head.dataset.top - head.dataset.floor;
    const [mine, theirs] = [one, other].map((cell) => {
      const values = [...seeds(cell).values()].map((value) => value / scale), n = values.length;
      const mean = values.reduce((sum, value) => sum + value, 0) / n;
      const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1) / n;
      return { mean, n, variance };
    });
    if (!mine.n || !theirs.n) return null;
    const mean = mine.mean - theirs.mean, variance = mine.variance + theirs.variance;
    if (mine.n < 2 || theirs.n < 2) return { mean, half: null };
    if (!variance) return { mean, half: 0 };
    const degrees = variance ** 2 / [mine, theirs].reduce((sum, one) => sum + one.variance ** 2 / (one.n - 1), 0);
    return { mean, half: quantile(degrees) * Math.sqrt(variance) };
  }

  function comparison(form, table) {
    form.hidden = false;
    const rows = new Map($$("tbody tr", table).map((row) => [row.dataset.entry, row]));
    const field = form.elements.add;
    const chosen = () => state().getAll("with").filter((entry) => rows.has(entry));
    const choose = (entries) => {
      const parameters = state();
      parameters.delete("with");
      entries.forEach((entry) => parameters.append("with", entry));
      remember(parameters);
      apply();
    };
    const add = () => {
      if (!rows.has(field.value)) return;
      choose([...new Set([...chosen(), field.value])]);
      field.value = "";
    };
    form.addEventListener("submit", (event) => { event.preventDefault(); add(); });
    field.addEventListener("input", add);
    return () => {
      const entries = chosen(), box = $("#chosen");
      box.replaceChildren(...entries.map((entry) => {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = entry + " \u00d7";
        button.setAttribute("aria-label", `Remove ${entry}`);
        button.addEventListener("click", () => choose(chosen().filter((one) => one !== entry)));
        return button;
      }));
      for (const [entry, row] of rows) row.hidden = entries.length > 0 && !entries.includes(entry);
      table.tBodies[0].append(...entries.map((entry) => rows.get(entry)));
      $("#hint").hidden = entries.length > 0;
      const section = $("#differences");
      section.hidden = entries.length < 2;
      if (entries.length < 2) return;
      const heads = $$("th[data-task]", table.tHead), cell = (tag, text, name) => {
        const made = document.createElement(tag);
        made.textContent = text;
        if (name) made.className = name;
        return made;
      };
      const line = (cells) => { const row = document.createElement("tr"); row.append(...cells); return row; };
      $("thead", section).replaceChildren(line([cell("th", "Difference"),
        ...heads.map((head) => cell("th", head.dataset.task, "n"))]));
      $("tbody", section).replaceChildren(...entries.slice(1).map((other) => line([
        cell("th", `${entries[0]} minus ${other}`),
        ...heads.map((head) => {
          const found = difference(rows.get(entries[0]).cells[head.cellIndex], rows.get(other).cells[head.cellIndex], head);
          if (!found) return cell("td", "\u2013", "n");
          const made = cell("td", signed(found.mean) + " ", "n");
          made.append(cell("small", found.half === null ? "one seed" : `\u00b1 ${found.half.toFixed(3)}`));
          return made;
        }),
      ])));
    };
  }

  let parts = [];
  const apply = () => parts.forEach((part) => part());

  // Folded parts, such as the values of figures, are opened for printing.
  addEventListener("beforeprint", () => $$("details:not([open])").forEach((one) => { one.open = true; one.dataset.printed = ""; }));
  addEventListener("afterprint", () => $$("details[data-printed]").forEach((one) => { one.open = false; delete one.dataset.printed; }));

  addEventListener("DOMContentLoaded", () => {
    theme();
    const form = $("#filters"), table = $("#board"), picker = $("#picker");
    if (form && table) parts.push(filters(form, table));
    parts.push(...$$("table[data-sortable]").map(sortable));
    if (picker) parts.push(comparison(picker, $("#compare")));
    apply();
    addEventListener("popstate", apply);
  });
})();
