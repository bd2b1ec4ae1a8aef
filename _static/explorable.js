// What readers play with in the landscape of landscape.js: a rewind step, a button that prunes, rewinds and trains again,
// and a walk from one solution to the next. It takes the place of the picture in `div.explorable`, which stays on paper.
(() => {
  const FIRST = 8; // the rewind step it begins with, an early one
  const PARTS = [700, 900, 1600, 2400]; // milliseconds: prune, rewind, train, walk
  const TRAINED = 3; // of the four parts, when training is over and the walk begins
  const percent = (rate) => `${Math.round(100 * rate)}\u00a0%`;

  const points = (rate) => `${Math.round(100 * rate)} points`;

  const make = (tag, attributes = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), attributes);
    element.append(...children);
    return element;
  };

  const between = ([x, y], [u, v], part) => [x + part * (u - x), y + part * (v - y)];
  const clip = (part) => Math.min(1, Math.max(0, part));

  class Explorable {
    constructor(root) {
      this.step = FIRST;
      this.done = 0; // how many of the parts are over
      this.tried = new Map();
      const canvas = (className, ariaLabel) => make("canvas", { className, role: "img", ariaLabel });
      this.map = canvas("map", "Map of errors over two weights, with two valleys; the text below tells what happens.");
      this.line = canvas("line", "Error on the line from one solution to the next; the text below tells how high.");
      const button = (textContent, onclick) => make("button", { type: "button", textContent, onclick });
      this.slider = make("input", { type: "range", min: 0, max: toy.LATEST, value: FIRST });
      this.slider.oninput = () => this.choose(Number(this.slider.value));
      this.shown = make("span", { className: "step" });
      this.walk = button("Walk the line again", () => this.play(TRAINED));
      this.said = make("p", { className: "said", role: "status" });
      const controls = make(
        "div",
        { className: "controls" },
        make("label", {}, "Rewind to step ", this.shown, this.slider),
        button("Prune, rewind, train again", () => this.play(0)),
        this.walk,
        button("Reset", () => this.reset()),
      );
      this.view = make("div", { className: "view" }, this.map, this.line, controls, this.said);
      root.prepend(this.view);
      root.classList.add("live");
      this.reset();
      new ResizeObserver(() => this.draw()).observe(this.view);
      const theme = { attributes: true, attributeFilter: ["data-theme"] };
      new MutationObserver(() => this.draw()).observe(document.documentElement, theme);
    }

    reset() {
      this.tried.clear();
      this.slider.value = FIRST;
      this.choose(FIRST);
    }

    choose(step) {
      cancelAnimationFrame(this.frame);
      this.step = step;
      this.trip = toy.rewind(step);
      this.shown.textContent = step;
      this.slider.ariaValueText = `step ${step} of ${toy.STEPS}`;
      this.done = 0;
      this.say(
        `SGD went from w₀ to the solution w⁽⁰⁾, where the error is ${percent(this.trip.profile[0])}. ` +
          "Choose the step to go back to, then prune: w₂, the smaller weight, becomes zero and stays zero.",
      );
      this.draw();
    }

    // Let the parts from `first` on happen; at once for readers who asked for less motion.
    play(first) {
      cancelAnimationFrame(this.frame);
      const finish = () => {
        this.done = PARTS.length;
        this.tried.set(this.step, this.trip.wins);
        this.say(this.outcome());
        this.draw();
      };
      if (matchMedia("(prefers-reduced-motion: reduce)").matches) return finish();
      this.done = first;
      let before = null;
      const move = (now) => {
        this.done += (now - (before ?? now)) / PARTS[Math.floor(this.done)];
        before = now;
        if (this.done >= PARTS.length) return finish();
        this.draw();
        this.frame = requestAnimationFrame(move);
      };
      this.frame = requestAnimationFrame(move);
    }

    outcome() {
      const { wins, profile, barrier } = this.trip;
      const [side, place] = wins
        ? ["on the side of the solution", "comes back to its valley"]
        : ["on the other side of the ridge", "ends at the rim of the other valley"];
      const steps = (won) => [...this.tried].filter((one) => one[1] === won).map(([step]) => step).sort((a, b) => a - b);
      const tried = [["fails", steps(false)], ["wins", steps(true)]].filter(([, all]) => all.length);
      return (
        `Rewound to step ${this.step}, it ${wins ? "wins" : "fails"}. Without w₂, the rewind point wₖ lies ${side}, and ` +
        `training along the axis ${place}. The error is ${percent(profile.at(-1))}; before pruning it was ` +
        `${percent(profile[0])}. On the straight line from w⁽⁰⁾ to w⁽¹⁾ there is ` +
        `${wins ? "no barrier" : `a barrier of ${points(barrier)}`}. ` +
        `Tried so far: ${tried.map(([word, all]) => `${word} from ${all.join(", ")}`).join("; ")}.`
      );
    }

    say(text) {
      if (this.said.textContent !== text) this.said.textContent = text;
      this.walk.disabled = this.done < PARTS.length;
    }

    // A canvas as sharp as the screen, empty; null while it is not shown.
    clear(canvas, ratio) {
      const width = canvas.clientWidth;
      const sharp = devicePixelRatio;
      if (!width) return null;
      const height = Math.round(width * ratio);
      Object.assign(canvas, { width: width * sharp, height: height * sharp });
      const pen = canvas.getContext("2d");
      pen.scale(sharp, sharp);
      pen.font = `14px ${getComputedStyle(this.view).fontFamily}`;
      pen.lineJoin = "round";
      return { pen, width, height };
    }

    ink(name) {
      return getComputedStyle(this.view).getPropertyValue(`--${name}`);
    }

    draw() {
      this.drawMap();
      this.drawLine();
    }

    // The valleys, the deeper the stronger, in nine bands with a line around each. As costly as all the rest: kept.
    valleys(width, height) {
      const colour = this.ink("valley");
      if (this.ground?.key === `${width} ${colour}`) return this.ground;
      const [left, right, bottom, top] = toy.BOX;
      const ground = make("canvas", { width, height });
      const pen = ground.getContext("2d");
      const picture = pen.createImageData(width, height);
      const bands = new Uint8Array(width * height).map((_, i) => {
        const [x, y] = [(i % width) / width, Math.floor(i / width) / height];
        return 10 * toy.error([left + x * (right - left), top - y * (top - bottom)]);
      });
      bands.forEach((band, i) => {
        const edge = band !== (bands[i + 1] ?? band) || band !== (bands[i + width] ?? band);
        picture.data[4 * i + 3] = 18 * (8 - band) + (edge ? 45 : 0);
      });
      pen.putImageData(picture, 0, 0);
      pen.globalCompositeOperation = "source-in";
      pen.fillStyle = colour;
      pen.fillRect(0, 0, width, height);
      return (this.ground = Object.assign(ground, { key: `${width} ${colour}` }));
    }

    drawMap() {
      const [left, right, bottom, top] = toy.BOX;
      const sheet = this.clear(this.map, (top - bottom) / (right - left));
      if (!sheet) return;
      const { pen, width, height } = sheet;
      const at = ([x, y]) => [((x - left) / (right - left)) * width, ((top - y) / (top - bottom)) * height];
      const [ink, muted] = ["ink", "muted"].map((name) => this.ink(name));
      const result = this.ink(this.trip.wins ? "win" : "fail");
      const stroke = (points, colour, thick, dash = []) => {
        pen.beginPath();
        points.map(at).forEach(([x, y]) => pen.lineTo(x, y));
        Object.assign(pen, { strokeStyle: colour, lineWidth: thick });
        pen.setLineDash(dash);
        pen.stroke();
        pen.setLineDash([]);
      };
      const mark = (point, colour, size, full = true, corners = 24) => {
        const [x, y] = at(point);
        pen.beginPath();
        for (let i = 0; i < corners; i++) {
          const turn = (2 * Math.PI * i) / corners;
          pen.lineTo(x + size * Math.sin(turn), y - size * Math.cos(turn));
        }
        pen.closePath();
        Object.assign(pen, { fillStyle: full ? colour : this.ink("page"), strokeStyle: colour, lineWidth: 2 });
        pen.fill();
        pen.stroke();
      };
      const write = (text, point, dx, dy, colour = ink) => {
        const [x, y] = at(point);
        pen.fillStyle = colour;
        pen.fillText(text, x + dx, y + dy);
      };
      const { dense, again } = this.trip;
      const [pruned, rewound, trained, walked] = PARTS.map((_, part) => clip(this.done - part));
      const drop = (point, part) => between(point, [point[0], 0], part);
      const [solution, start, next] = [dense.at(-1), dense[this.step], again.at(-1)];

      pen.drawImage(this.valleys(width, height), 0, 0);
      stroke([[left, 0], [right, 0]], muted, 1, [6, 4]);
      write("axis w₂ = 0", [left, 0], 8, -10, muted);
      stroke(dense, ink, 1.5);
      mark(dense[0], ink, 4, false);
      write("w₀", dense[0], -8, -12);
      this.tried.forEach((won, step) => {
        if (step !== this.step) mark(dense[step], this.ink(won ? "win" : "fail"), 5, true, won ? 24 : 3);
      });
      if (this.done > 0) {
        stroke([solution, drop(solution, pruned)], ink, 1, [2, 3]);
        mark(drop(solution, pruned), ink, 5, false, 4);
      }
      if (rewound > 0) {
        stroke([start, drop(start, rewound)], ink, 1, [2, 3]);
        mark(drop(start, rewound), ink, 5, false, 4);
      }
      if (trained > 0) {
        const gone = again.slice(0, 1 + Math.round(trained * (again.length - 1)));
        stroke(gone, result, 4);
        mark(gone.at(-1), result, 6);
      }
      if (trained === 1) write(`w⁽¹⁾ ${this.trip.wins ? "wins" : "fails"}`, next, this.trip.wins ? 10 : -30, 24);
      mark(solution, ink, 5);
      write("w⁽⁰⁾", solution, 8, -8);
      mark(start, ink, 6, false, 4);
      write("wₖ", start, 8, -8);
      if (walked > 0) {
        stroke([solution, between(solution, next, walked)], result, 2, [5, 4]);
        mark(between(solution, next, walked), result, 4, false);
      }
      pen.strokeStyle = muted;
      pen.strokeRect(0.5, 0.5, width - 1, height - 1);
      write("w₁ →", [left, bottom], 8, -8, muted);
      write("↑ w₂", [left, top], 8, 20, muted);
    }

    drawLine() {
      const sheet = this.clear(this.line, this.line.clientWidth < 500 ? 0.34 : 0.2);
      if (!sheet) return;
      const { pen, width, height } = sheet;
      const { profile, barrier, wins } = this.trip;
      const [low, high] = [height - 24, 26];
      const at = (i) => [8 + (i / toy.POINTS) * (width - 16), low - (profile[i] / toy.TOP) * (low - high)];
      Object.assign(pen, { fillStyle: this.ink("muted"), strokeStyle: this.ink("muted"), lineWidth: 1 });
      pen.fillText("error on the straight line from w⁽⁰⁾ to w⁽¹⁾", 8, 16);
      pen.strokeRect(0.5, 0.5, width - 1, height - 1);
      pen.fillText("w⁽⁰⁾", 8, height - 6);
      pen.textAlign = "right";
      pen.fillText("w⁽¹⁾", width - 8, height - 6);
      const end = Math.round(clip(this.done - TRAINED) * toy.POINTS);
      if (this.done <= TRAINED) return;
      if (end === toy.POINTS) {
        pen.beginPath();
        [0, end].forEach((i) => pen.lineTo(...at(i)));
        pen.setLineDash([4, 4]);
        pen.stroke();
        pen.setLineDash([]);
        pen.textAlign = "center";
        pen.fillText(wins ? "no barrier" : `barrier: ${points(barrier)}`, width / 2, height - 6);
      }
      pen.beginPath();
      for (let i = 0; i <= end; i++) pen.lineTo(...at(i));
      Object.assign(pen, { strokeStyle: this.ink(wins ? "win" : "fail"), lineWidth: 3 });
      pen.stroke();
      pen.beginPath();
      pen.arc(...at(end), 4, 0, 2 * Math.PI);
      pen.fillStyle = pen.strokeStyle;
      pen.fill();
    }
  }

  const start = () => document.querySelectorAll("div.explorable").forEach((root) => new Explorable(root));
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
