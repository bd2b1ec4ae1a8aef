// The made-up landscape of lotterybook/explorable.py, number for number: two valleys over two weights, and SGD in it.
const toy = (() => {
  const STEPS = 120, RATE = 0.06, MOMENTUM = 0.85, NOISE = 0.5, SEED = 7;
  const TOP = 0.9, START = [-1.2, 1.9], LATEST = 60, TOLERANCE = 0.02, POINTS = 100, BOX = [-3.0, 3.2, -1.6, 2.4];
  const VALLEYS = [[0.86, [1.7, 0.24], [1.9, 0.5], -0.72], [0.84, [-1.75, -0.75], [0.8, 0.75], 0.3]].map(
    ([depth, floor, [long, wide], angle]) => {
      const [c, s, a, b] = [Math.cos(angle), Math.sin(angle), 1 / long ** 2, 1 / wide ** 2];
      return { depth, floor, xx: c * c * a + s * s * b, xy: c * s * (a - b), yy: s * s * a + c * c * b };
    },
  );

  // How far a point lies below the top, and the matrix times the way from the valley's floor.
  const below = ({ depth, floor, xx, xy, yy }, [x, y]) => {
    const [dx, dy] = [x - floor[0], y - floor[1]];
    const pull = [xx * dx + xy * dy, xy * dx + yy * dy];
    return [depth * Math.exp(-0.5 * (dx * pull[0] + dy * pull[1])), pull];
  };

  const error = (w) => VALLEYS.reduce((rest, valley) => rest - below(valley, w)[0], TOP);

  const gradient = (w) =>
    VALLEYS.map((valley) => below(valley, w)).reduce(([x, y], [d, pull]) => [x + d * pull[0], y + d * pull[1]], [0, 0]);

  const noise = () => {
    let seed = SEED;
    const next = () => {
      seed = (Math.imul(1664525, seed) + 1013904223) >>> 0;
      return NOISE * (seed / 2 ** 32 - 0.5);
    };
    return Array.from({ length: STEPS }, () => [next(), next()]);
  };

  const train = (from, step, mask) => {
    const batch = noise();
    let w = from.map((value, i) => value * mask[i]);
    let velocity = [0, 0];
    const path = [w];
    for (let t = step; t < STEPS; t++) {
      const slope = gradient(w);
      const rate = RATE * 0.5 * (1 + Math.cos((Math.PI * t) / STEPS));
      velocity = velocity.map((v, i) => MOMENTUM * v + mask[i] * (slope[i] + batch[t][i]));
      w = w.map((value, i) => value - rate * velocity[i]);
      path.push(w);
    }
    return path;
  };

  const rewind = (step) => {
    const dense = train(START, 0, [1, 1]);
    const again = train(dense[step], step, [1, 0]);
    const [a, b] = [dense.at(-1), again.at(-1)];
    const profile = Array.from({ length: POINTS + 1 }, (_, i) => error(a.map((v, j) => v + (i / POINTS) * (b[j] - v))));
    const [first, last] = [profile[0], profile[POINTS]];
    const barrier = Math.max(...profile.map((e, i) => e - first - (i / POINTS) * (last - first)));
    const wins = last <= first + TOLERANCE && barrier <= TOLERANCE;
    return { dense, again, profile, barrier, wins };
  };

  return { STEPS, TOP, LATEST, POINTS, BOX, error, gradient, rewind };
})();
