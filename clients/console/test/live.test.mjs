// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import test from 'node:test';
import { buckets, byLabel, parse, quantile, sum } from '../src/live/prometheus.js';
import { dropCauses, rates, readMetrics, readSys } from '../src/live/reading.js';

const TEXT = `# HELP nightjar_publish_received_total PUBLISH packets received from clients
# TYPE nightjar_publish_received_total counter
nightjar_publish_received_total{worker="0"} 100
nightjar_publish_received_total{worker="1"} 23 1700000000000
nightjar_messages_dropped_total{cause="queue_full",worker="0"} 5
nightjar_messages_dropped_total{cause="queue_full",worker="1"} 1
nightjar_messages_dropped_total{cause="expired"} 0
nightjar_clients_connected 3
odd{text="a\\"b\\\\c\\nd, e=\\"f\\""} +Inf
nightjar_publish_latency_seconds_bucket{worker="0",le="0.001"} 50
nightjar_publish_latency_seconds_bucket{worker="0",le="0.01"} 90
nightjar_publish_latency_seconds_bucket{worker="0",le="+Inf"} 100
nightjar_publish_latency_seconds_bucket{worker="1",le="0.001"} 50
nightjar_publish_latency_seconds_bucket{worker="1",le="0.01"} 90
nightjar_publish_latency_seconds_bucket{worker="1",le="+Inf"} 100
this is no sample
`;

test('samples, labels, help and types are read', () => {
	const metrics = parse(TEXT);
	const received = metrics.get('nightjar_publish_received_total');
	assert.equal(received.type, 'counter');
	assert.equal(received.help, 'PUBLISH packets received from clients');
	assert.equal(sum(metrics, 'nightjar_publish_received_total'), 123);
	assert.equal(sum(metrics, 'nightjar_publish_received_total', { worker: '1' }), 23);
	assert.equal(sum(metrics, 'nothing'), undefined);
	assert.deepEqual(byLabel(metrics, 'nightjar_messages_dropped_total', 'cause'), { queue_full: 6, expired: 0 });
	assert.deepEqual(metrics.get('odd').samples, [{ labels: { text: 'a"b\\c\nd, e="f"' }, value: Infinity }]);
});

test('histograms are summed over the workers, and give quantiles', () => {
	const found = buckets(parse(TEXT), 'nightjar_publish_latency_seconds');
	assert.deepEqual(found, [[0.001, 100], [0.01, 180], [Infinity, 200]]);
	assert.equal(quantile(0.5, found), 0.001);
	assert.equal(quantile(0.25, found), 0.0005);
	assert.ok(Math.abs(quantile(0.7, found) - 0.0055) < 1e-9);
	assert.equal(quantile(0.99, found), 0.01);
	assert.equal(quantile(0.5, found, found), undefined);
	assert.equal(quantile(0.5, []), undefined);
});

test('rates are between two readings', () => {
	const before = readMetrics(parse(TEXT), 1000);
	const now = readMetrics(parse(TEXT.replace('worker="0"} 100\n', 'worker="0"} 300\n')), 3000);
	const point = rates(now, before);
	assert.equal(point.received, 100);
	assert.equal(point.dropped, 0);
	assert.equal(point.clients, 3);
	assert.equal(point.bytesIn, undefined);
	assert.deepEqual(dropCauses(now), [['queue_full', 6]]);
});

test('a counter that fell is a restart, and no rate', () => {
	const before = readMetrics(parse(TEXT), 1000);
	const now = readMetrics(parse('nightjar_publish_received_total 1\n'), 3000);
	assert.equal(rates(now, before).received, undefined);
});

test('$SYS gives the same reading', () => {
	const topics = new Map([['publish/messages/received', '10'], ['clients/connected', '2'],
		['uptime', '12 seconds'], ['bytes/sent', 'nonsense']]);
	const reading = readSys(topics, 5);
	assert.equal(reading.totals.received, 10);
	assert.equal(reading.gauges.clients, 2);
	assert.equal(reading.info.uptime, 12);
	assert.equal(reading.totals.bytesOut, undefined);
});
