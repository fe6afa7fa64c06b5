import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import protobuf from 'protobufjs';
import { ShapeError } from '../support/errors.js';
import { directionalDerivatives } from './autodiff/forward.js';
import { gradients } from './autodiff/reverse.js';
import { createGraphBuilder, type GraphBuilder } from './graph/builder.js';
import { hashGraph } from './graph/hash.js';
import { add, argMax, cast, fill, gatherRows, linear, multiply, reduceSum, scalar, topK } from './graph/ops.js';
import { printGraph } from './graph/print.js';
import { compileGraph } from './onnx/compile.js';
import { array64, evaluate } from './reference.fixture.js';

function square(g: GraphBuilder): void {
  const x = g.input('x', 'float32', [2, 3]);
  const w = g.input('w', 'float32', [4, 3]);
  g.output('y', reduceSum(g, linear(g, multiply(g, x, scalar(g, 2)), w), [0, 1]));
}

const built = (build: (g: GraphBuilder) => void) => {
  const g = createGraphBuilder();
  build(g);
  return g.finish();
};

describe('graphs', () => {
  test('print one node a line, with shapes', () => {
    assert.equal(
      printGraph(built(square)),
      [
        'graph (%x f32[2, 3], %w f32[4, 3])',
        '  %2 f32[] = constant [2]',
        '  %3 f32[2, 3] = multiply(%x, %2)',
        '  %4 f32[2, 4] = linear(%3, %w)',
        '  %5 f32[] = reduceSum(%4, axes=[0,1], keepDims=false)',
        '  return y = %5',
      ].join('\n'),
    );
  });

  test('hash by what they compute, not by how they were built', () => {
    const detour = built((g) => {
      g.constant('float32', [], Float32Array.of(7));
      square(g);
    });
    assert.equal(
      hashGraph(built(square)),
      hashGraph({ ...detour, constants: detour.constants.filter(({ data }) => data[0] !== 7) }),
    );
    const other = built((g) => {
      const x = g.input('x', 'float32', [2, 3]);
      const w = g.input('w', 'float32', [4, 3]);
      g.output('y', reduceSum(g, linear(g, multiply(g, x, scalar(g, 3)), w), [0, 1]));
    });
    assert.notEqual(hashGraph(built(square)), hashGraph(other));
  });

  test('hold only what an output needs', () => {
    const graph = built((g) => {
      const x = g.input('x', 'float32', [2]);
      multiply(g, x, x);
      g.output('y', add(g, x, x));
    });
    assert.deepEqual(
      graph.nodes.map(({ kind }) => kind),
      ['add'],
    );
  });

  test('refuse operands that do not fit, naming the op, what it wants and what it got', () => {
    const g = createGraphBuilder();
    const x = g.input('x', 'float32', [2, 3]);
    const w = g.input('w', 'float32', [4, 5]);
    assert.throws(
      () => linear(g, x, w),
      (error) =>
        error instanceof ShapeError &&
        error.message === 'linear: expected float32[N, I], float32[O, I]; got float32[2, 3], float32[4, 5]',
    );
  });
});

describe('differentiation', () => {
  test('a value used twice gets the sum of both uses, rows and matrix alike', () => {
    // E is embedding and head at once: Σ (E[ids]·Eᵀ).
    const graph = built((g) => {
      const table = g.input('table', 'float32', [4, 3]);
      const ids = g.input('ids', 'int64', [3]);
      const loss = reduceSum(g, linear(g, gatherRows(g, table, ids), table), [0, 1]);
      g.output('loss', loss);
      g.output('gradient', gradients(g, loss, [table])[0]);
    });
    const table = array64([4, 3], (index) => Math.sin(index));
    const ids = array64([3], (index) => [2, 0, 2][index]);
    const { gradient } = evaluate(graph, { table, ids });
    for (let index = 0; index < 12; index++) {
      const at = (step: number) =>
        evaluate(graph, { table: array64([4, 3], (i) => table.data[i] + (i === index ? step : 0)), ids }).loss.data[0];
      assert.ok(Math.abs((at(1e-5) - at(-1e-5)) / 2e-5 - gradient.data[index]) < 1e-8);
    }
  });

  test('what the loss does not depend on gets zeros', () => {
    const graph = built((g) => {
      const [x, y] = ['x', 'y'].map((name) => g.input(name, 'float32', [2]));
      const [, dy] = gradients(g, reduceSum(g, x, [0]), [x, y]);
      g.output('dy', dy);
    });
    const ones = array64([2], () => 1);
    assert.deepEqual([...evaluate(graph, { x: ones, y: ones }).dy.data], [0, 0]);
  });

  test('a gradient that would have to pass an op without one is refused with the reason', () => {
    const g = createGraphBuilder();
    const x = g.input('x', 'float32', [2, 3]);
    const loss = reduceSum(g, topK(g, x, 2).values, [0, 1]);
    assert.throws(() => gradients(g, loss, [x]), /no gradient passes through 'topK': it serves samplers/);
  });

  test('indices carry no tangent and stop none', () => {
    const graph = built((g) => {
      const x = g.input('x', 'float32', [1, 3]);
      const t = g.input('t', 'float32', [1, 3]);
      const y = add(g, reduceSum(g, x, [0, 1]), reduceSum(g, cast(g, argMax(g, x), 'float32'), [0]));
      g.output('tangent', directionalDerivatives(g, [y], new Map([[x, t]]))[0]);
    });
    const x = array64([1, 3], (index) => index);
    assert.equal(evaluate(graph, { x, t: array64([1, 3], () => 2) }).tangent.data[0], 6);
  });

  test('a loss must be a scalar', () => {
    const g = createGraphBuilder();
    assert.throws(() => gradients(g, fill(g, [2], 1), []), /a loss must be a scalar, got \[2\]/);
  });
});

describe('ONNX bytes', () => {
  const schema = `syntax = "proto3";
    message Attribute { string name = 1; float f = 2; int64 i = 3; bytes s = 4; repeated int64 ints = 8; int32 type = 20; }
    message Node { repeated string input = 1; repeated string output = 2; string op_type = 4; repeated Attribute attribute = 5; string domain = 7; }
    message Tensor { repeated int64 dims = 1; int32 data_type = 2; string name = 8; bytes raw_data = 9; }
    message Graph { repeated Node node = 1; string name = 2; repeated Tensor initializer = 5; repeated bytes input = 11; repeated bytes output = 12; }
    message Opset { string domain = 1; int64 version = 2; }
    message Model { int64 ir_version = 1; Graph graph = 7; repeated Opset opset_import = 8; }`;

  test('say what an independent protobuf reader finds in them', () => {
    const { bytes } = compileGraph(built(square), { numThreads: 1 });
    const Model = protobuf.parse(schema, { keepCase: true }).root.lookupType('Model');
    const model = Model.toObject(Model.decode(bytes), { longs: Number, defaults: true });
    assert.equal(model.ir_version, 9);
    assert.deepEqual(
      model.opset_import.map(({ domain, version }: { domain: string; version: number }) => `${domain} ${version}`),
      [' 21', 'com.microsoft 1'],
    );
    assert.deepEqual(
      model.graph.node.map(({ op_type }: { op_type: string }) => op_type),
      ['Mul', 'FusedMatMul', 'ReduceSum'],
    );
    const transB = model.graph.node[1].attribute.find(({ name }: { name: string }) => name === 'transB');
    assert.deepEqual([transB.i, transB.type], [1, 2]);
    assert.equal(model.graph.node.at(-1).output[0], 'y');
    const two = model.graph.initializer.find(({ data_type }: { data_type: number }) => data_type === 1);
    assert.equal(Buffer.from(two.raw_data).readFloatLE(0), 2);
  });

  test('a gradient step shares the nodes of its forward pass', () => {
    const graph = built((g) => {
      const x = g.input('x', 'float32', [4, 3]);
      const w = g.input('w', 'float32', [5, 3]);
      const targets = g.input('targets', 'int64', [4]);
      const weights = g.input('weights', 'float32', [4]);
      const [loss] = g.apply('headLoss', [x, w, targets, weights], {});
      g.output('loss', loss);
      g.output('dw', gradients(g, loss, [w])[0]);
    });
    const text = Buffer.from(compileGraph(graph, { numThreads: 1 }).bytes).toString('latin1');
    assert.equal(
      text.split('Softmax\x3a').length + text.split('\x07Softmax').length - 2,
      1,
      'one softmax for both passes',
    );
  });
});
