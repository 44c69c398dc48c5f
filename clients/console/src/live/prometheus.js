// SPDX-License-Identifier: Apache-2.0
// Reads the text format of Prometheus: lines of name{label="value",...} number.

const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?$/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

function unescape(text) {
	return text.replace(/\\(.)/g, (_all, char) => (char === 'n' ? '\n' : char));
}

function numberOf(text) {
	const special = { '+Inf': Infinity, '-Inf': -Infinity, NaN: NaN };
	return text in special ? special[text] : Number(text);
}

// A map from name to {type, help, samples: [{labels, value}]}. Lines that are none are left out.
export function parse(text) {
	const metrics = new Map();
	const metric = (name) => {
		if (!metrics.has(name)) {
			metrics.set(name, { type: 'untyped', help: '', samples: [] });
		}
		return metrics.get(name);
	};
	for (const raw of text.split('\n')) {
		const line = raw.trim();
		if (line.startsWith('#')) {
			const note = /^#\s+(HELP|TYPE)\s+(\S+)\s*(.*)$/.exec(line);
			if (note) {
				metric(note[2])[note[1] === 'HELP' ? 'help' : 'type'] = note[3];
			}
			continue;
		}
		const match = SAMPLE.exec(line);
		if (!match) {
			continue;
		}
		const labels = {};
		for (const [, name, value] of (match[2] ?? '').matchAll(LABEL)) {
			labels[name] = unescape(value);
		}
		metric(match[1]).samples.push({ labels, value: numberOf(match[3]) });
	}
	return metrics;
}

// The sum of a metric's samples whose labels hold all of `wanted`; undefined without any.
export function sum(metrics, name, wanted = {}) {
	const samples = (metrics.get(name)?.samples ?? []).filter(({ labels }) =>
		Object.entries(wanted).every(([key, value]) => labels[key] === value));
	return samples.length ? samples.reduce((total, { value }) => total + value, 0) : undefined;
}

// {value of label: sum} of a metric.
export function byLabel(metrics, name, label) {
	const totals = {};
	for (const { labels, value } of metrics.get(name)?.samples ?? []) {
		const key = labels[label] ?? '';
		totals[key] = (totals[key] ?? 0) + value;
	}
	return totals;
}

// A histogram's buckets, summed over all other labels: [[upper bound, cumulated count], ...].
export function buckets(metrics, name) {
	const totals = byLabel(metrics, `${name}_bucket`, 'le');
	return Object.entries(totals).map(([bound, count]) => [numberOf(bound), count])
		.sort((a, b) => a[0] - b[0]);
}

// The q-quantile of what was counted between two readings; undefined when nothing was. Within a
// bucket the values are taken as spread evenly.
export function quantile(q, now, before = []) {
	const earlier = new Map(before);
	const counts = now.map(([bound, count]) => [bound, count - (earlier.get(bound) ?? 0)]);
	const total = counts.length ? counts[counts.length - 1][1] : 0;
	if (!(total > 0)) {
		return undefined;
	}
	let low = 0;
	let below = 0;
	for (const [bound, count] of counts) {
		if (count >= q * total) {
			if (bound === Infinity) {
				return low;
			}
			return low + (bound - low) * ((q * total - below) / Math.max(count - below, 1e-9));
		}
		low = bound;
		below = count;
	}
	return low;
}
