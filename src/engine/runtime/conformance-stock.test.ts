import { testRuntime } from './conformance.fixture.js';
import { openRuntime } from './open.js';

testRuntime('stock', (threads) => openRuntime({ threads, kind: 'stock' }));
