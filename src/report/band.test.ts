import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { bandPath, convexHull, type Place } from './band.js';

const place = fc.tuple(fc.integer({ min: -50, max: 50 }), fc.integer({ min: -50, max: 50 }));
const turn = (a: Place, b: Place, c: Place) => (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);

test('a hull turns one way only, has corners of the points alone, and holds all of them', () => {
  fc.assert(
    fc.property(fc.array(place, { minLength: 3, maxLength: 40 }), (points) => {
      const hull = convexHull(points);
      const edges = hull.map((corner, index) => [corner, hull[(index + 1) % hull.length]] as const);
      for (const corner of hull) assert.ok(points.includes(corner as [number, number]));
      for (const [from, to] of edges) for (const point of points) assert.ok(turn(from, to, point) >= 0);
    }),
  );
});

test('a band spans the 95 % intervals of its settings in both directions', () => {
  const draws = (low: number, high: number) =>
    Float64Array.from({ length: 1001 }, (_, index) => low + ((high - low) * index) / 1000);
  const settings = [
    { x: 10, y: 50, xDraws: draws(0, 20), yDraws: draws(40, 60) },
    { x: 100, y: 50, xDraws: draws(90, 110), yDraws: draws(40, 60) },
  ];
  const path = bandPath(settings, (each) => each);
  const corners = [...path.matchAll(/(-?[\d.]+),(-?[\d.]+)/g)].map(([, x, y]) => [Number(x), Number(y)]);
  const across = corners.map(([x]) => x);
  const along = corners.map(([, y]) => y);
  assert.deepEqual([Math.min(...across), Math.max(...across)], [0.5, 109.5]); // the middle 95 % of 20
  assert.deepEqual([Math.min(...along), Math.max(...along)], [40.5, 59.5]);
  assert.equal(path.match(/M/g)!.length, 1);
});
