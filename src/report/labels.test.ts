import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { alongCurve, boxAround, overlap, placeLabels } from './labels.js';

const bounds = { left: 0, top: 0, right: 400, bottom: 300 };
const requests = fc.array(
  fc.record({
    text: fc.string({ minLength: 1, maxLength: 12 }),
    x: fc.integer({ min: 0, max: 400 }),
    y: fc.integer({ min: 0, max: 300 }),
  }),
  { maxLength: 30 },
);

test('labels cover neither each other nor what is taken, and stay inside, however crowded it is', () => {
  fc.assert(
    fc.property(requests, (wanted) => {
      const taken = wanted.map(({ x, y }) => boxAround(x, y, 6));
      const placed = placeLabels(wanted, { bounds, taken, fontSize: 12 });
      for (const [index, { box }] of placed.entries()) {
        assert.ok(box.left >= 0 && box.right <= 400 && box.top >= 0 && box.bottom <= 300);
        assert.ok(!taken.some((other) => overlap(box, other)));
        assert.ok(!placed.slice(index + 1).some((other) => overlap(box, other.box)));
      }
    }),
  );
});

test('a label that has room stands at the right of its point', () => {
  const [label] = placeLabels([{ text: 'τ 2', x: 100, y: 100 }], { bounds, taken: [], fontSize: 12 });
  assert.ok(label.box.left > 100 && label.box.left < 115 && !label.isApart);
});

test('boxes along a curve leave no gap that a label could lie in', () => {
  const boxes = alongCurve([
    [0, 0],
    [90, 40],
    [90, 200],
  ]);
  for (let part = 0; part <= 1; part += 0.01) {
    const [x, y] = [90 * part, 40 * part];
    assert.ok(boxes.some((box) => x >= box.left - 2 && x <= box.right + 2 && y >= box.top - 2 && y <= box.bottom + 2));
  }
});
