// SPDX-License-Identifier: Apache-2.0
// What the live view knows at one moment, whether it came from /metrics or from $SYS:
//
//   {time, totals: {received, delivered, bytesIn, bytesOut, dropped, drops: {cause: n}},
//    gauges: {clients, sessions, offline, subscriptions, retained, inflight, queued},
//    latency: buckets or null, turns: buckets or null, info: {uptime, memory}}
//
// and the rates between two such moments. A number that is not known is undefined.
import { buckets, byLabel, quantile, sum } from './prometheus.js';

export function readMetrics(metrics, time) {
	const of = (name) => sum(metrics, `nightjar_${name}`);
	return {
		time,
		totals: {
			received: of('publish_received_total'),
			delivered: of('publish_sent_total'),
			bytesIn: of('bytes_received_total'),
			bytesOut: of('bytes_sent_total'),
			dropped: of('messages_dropped_total'),
			drops: byLabel(metrics, 'nightjar_messages_dropped_total', 'cause'),
		},
		gauges: {
			clients: of('clients_connected'),
			sessions: of('sessions'),
			offline: of('sessions_offline'),
			subscriptions: of('subscriptions'),
			retained: of('retained_messages'),
			inflight: of('messages_inflight'),
			queued: of('messages_queued'),
		},
		latency: histogram(metrics, 'nightjar_publish_latency_seconds'),
		turns: histogram(metrics, 'nightjar_turn_seconds'),
		info: { uptime: of('uptime_seconds') ?? uptimeOf(metrics, time),
			memory: sum(metrics, 'process_resident_memory_bytes') ?? of('resident_memory_bytes') },
	};
}

function uptimeOf(metrics, time) {
	const start = sum(metrics, 'process_start_time_seconds');
	return start === undefined ? undefined : time / 1000 - start;
}

function histogram(metrics, name) {
	const found = buckets(metrics, name);
	return found.length ? found : null;
}

// topics: a map from the topic below $SYS/broker/ to its text.
export function readSys(topics, time) {
	const of = (name) => {
		const number = parseFloat(topics.get(name));
		return Number.isNaN(number) ? undefined : number;
	};
	return {
		time,
		totals: {
			received: of('publish/messages/received'),
			delivered: of('publish/messages/sent'),
			bytesIn: of('bytes/received'),
			bytesOut: of('bytes/sent'),
			dropped: of('publish/messages/dropped'),
			drops: {},
		},
		gauges: {
			clients: of('clients/connected'),
			sessions: of('clients/total'),
			offline: of('clients/disconnected'),
			subscriptions: of('subscriptions/count'),
			retained: of('retained messages/count'),
			inflight: undefined,
			queued: undefined,
		},
		latency: null,
		turns: null,
		info: { uptime: of('uptime'), memory: of('heap/current') },
	};
}

// A counter that fell belongs to a broker that was restarted: nothing is known of that interval.
function rate(now, before, seconds) {
	return now === undefined || before === undefined || now < before ? undefined
		: (now - before) / seconds;
}

export function rates(now, before) {
	const seconds = (now.time - before.time) / 1000;
	const one = (name) => rate(now.totals[name], before.totals[name], seconds);
	const point = { time: now.time, ...now.gauges };
	for (const name of ['received', 'delivered', 'bytesIn', 'bytesOut', 'dropped']) {
		point[name] = one(name);
	}
	for (const [name, found] of [['latency', now.latency], ['turn', now.turns]]) {
		const earlier = (name === 'latency' ? before.latency : before.turns) ?? [];
		point[`${name}50`] = found ? quantile(0.5, found, earlier) : undefined;
		point[`${name}99`] = found ? quantile(0.99, found, earlier) : undefined;
	}
	return point;
}

// Causes of drops between the first and the last reading, the largest first.
export function dropCauses(now) {
	return Object.entries(now.totals.drops).filter(([, count]) => count > 0)
		.sort((a, b) => b[1] - a[1]);
}
