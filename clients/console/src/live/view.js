// SPDX-License-Identifier: Apache-2.0
// The live view: numbers and charts of the broker over the last minutes.
import { byId, countText, make, showNotice } from '../lib/dom.js';
import { sizeText } from '../lib/payload.js';
import { load, save } from '../lib/storage.js';
import { link } from '../link/link.js';
import { Chart } from './chart.js';
import { dropCauses, rates } from './reading.js';
import { LiveSource } from './source.js';

const SPANS = [60, 120, 300, 900];
const KEPT_MS = 16 * 60 * 1000;

// 0.4, 12, 1,234, 56.8k: as many digits as one reads.
export function numberText(value) {
	if (value >= 100000) {
		return value >= 1e6 ? `${(value / 1e6).toFixed(value < 1e7 ? 1 : 0)}M` : `${Math.round(value / 1000)}k`;
	}
	return value >= 10 || Number.isInteger(value) ? countText(Math.round(value)) : value.toFixed(1);
}

const bytesText = (value) => sizeText(value < 1024 ? Math.round(value) : value);

// Beside the grid: 2.5k, 10k.
function axisText(value) {
	return value >= 1000 && value < 1e6 ? `${+(value / 1000).toFixed(2)}k` : numberText(value);
}

export function secondsText(value) {
	if (value === 0) {
		return '0';
	}
	if (value < 0.001) {
		return `${Math.round(value * 1e6)} µs`;
	}
	return value < 1 ? `${+(value * 1000).toFixed(value < 0.01 ? 1 : 0)} ms` : `${value.toFixed(1)} s`;
}

function uptimeText(seconds) {
	const minutes = Math.floor(seconds / 60);
	const hours = Math.floor(minutes / 60);
	if (hours >= 48) {
		return `${Math.floor(hours / 24)} days`;
	}
	return hours ? `${hours} h ${minutes % 60} min` : minutes ? `${minutes} min` : `${Math.floor(seconds)} s`;
}

const CHARTS = [
	['Messages per second', [['received', 'received'], ['delivered', 'delivered']], numberText,
		{ least: 10, axis: axisText }],
	['Bytes per second', [['bytesIn', 'in'], ['bytesOut', 'out']], bytesText, { base: 1024, least: 1024 }],
	['Connections', [['clients', 'connected'], ['offline', 'offline sessions']], numberText,
		{ least: 4, axis: axisText }],
	['Dropped per second', [['dropped', 'dropped']], numberText, { least: 2, axis: axisText }],
	['Latency, publish to deliver', [['latency50', 'half within'], ['latency99', '99 % within']], secondsText,
		{ least: 0.0001 }],
	['Waiting', [['inflight', 'in flight'], ['queued', 'queued']], numberText, { least: 10, axis: axisText }],
];

const TILES = [
	['Connected', ({ gauges }) => gauges.clients, numberText],
	['Sessions', ({ gauges }) => gauges.sessions, numberText],
	['Subscriptions', ({ gauges }) => gauges.subscriptions, numberText],
	['Retained', ({ gauges }) => gauges.retained, numberText],
	['Received', ({ totals }) => totals.received, numberText],
	['Delivered', ({ totals }) => totals.delivered, numberText],
	['Dropped', ({ totals }) => totals.dropped, numberText],
	['Memory', ({ info }) => info.memory, sizeText],
	['Running for', ({ info }) => info.uptime, uptimeText],
];

// Seconds to show: no more than were asked for, and not many more than are known.
export function spanFor(asked, known_ms) {
	return SPANS.find((span) => span * 1000 >= known_ms || span >= asked) ?? asked;
}

export class LiveView {
	constructor() {
		this.source = new LiveSource();
		this.points = [];
		this.last = null;
		this.charts = CHARTS.map(([title, series, format, options]) =>
			new Chart(title, series.map(([key, name]) => ({ key, name })), format, options));
		byId('live-charts').append(...this.charts.map(({ element }) => element));
		this.spans = byId('live-span');
		this.span = load('live-span', 300);
		for (const input of this.spans.querySelectorAll('input')) {
			input.checked = Number(input.value) === this.span;
		}
		this.spans.addEventListener('change', ({ target }) => {
			this.span = Number(target.value);
			save('live-span', this.span);
			this.draw();
		});
		this.source.addEventListener('reading', ({ detail }) => this.take(detail));
		this.source.addEventListener('change', () => this.draw());
	}

	get isVisible() {
		return !byId('live').hidden;
	}

	take(reading) {
		if (this.last && this.last.time < reading.time && this.lastKind === this.source.kind) {
			this.points.push(rates(reading, this.last));
		}
		this.last = reading;
		this.lastKind = this.source.kind;
		while (this.points.length && this.points[0].time < reading.time - KEPT_MS) {
			this.points.shift();
		}
		this.draw();
	}

	draw() {
		if (!this.isVisible) {
			return;
		}
		const { kind } = this.source;
		byId('live-source').textContent = { metrics: 'from /metrics, every 2 s',
			sys: 'from $SYS, as often as sys_interval says', '': '' }[kind];
		showNotice(byId('live-notice'), this.notice(), 'info');
		this.drawTiles();
		const to = this.last?.time ?? Date.now();
		const from = to - 1000 * spanFor(this.span, to - (this.points[0]?.time ?? to));
		for (const chart of this.charts) {
			chart.draw(this.points, from, to, this.noteOf(chart));
		}
	}

	notice() {
		const { kind, status } = this.source;
		if (kind === 'metrics') {
			return null;
		}
		if (kind === 'sys') {
			return { title: 'Shown from $SYS', text: 'This page’s address gives no /metrics, so latency, queues and ' +
				'the causes of drops are not known.' };
		}
		if (status === 0) {
			return { title: 'The broker does not answer', text: 'The charts go on when it does.' };
		}
		return link.isConnected
			? { title: 'Waiting for $SYS', text: 'This page’s address gives no /metrics. The $SYS topics come ' +
				'every sys_interval (10 s unless configured); a user needs the right to read them.' }
			: { title: 'No metrics here', text: 'This page’s address gives no /metrics (they may be switched off). ' +
				'Connect in the test client, and the charts are drawn from the broker’s $SYS topics.' };
	}

	noteOf(chart) {
		if (this.source.kind === 'sys' && this.points.every((point) =>
			chart.series.every(({ key }) => point[key] === undefined)) && this.points.length) {
			return 'Not in $SYS; switch the metrics on to see it.';
		}
		if (chart.title === 'Dropped per second' && this.last) {
			const causes = dropCauses(this.last).slice(0, 4)
				.map(([cause, count]) => `${cause.replaceAll('_', ' ')} ${numberText(count)}`);
			return causes.length ? `Since the start: ${causes.join(', ')}` : '';
		}
		return '';
	}

	drawTiles() {
		byId('live-tiles').replaceChildren(...TILES.flatMap(([name, of, format]) => {
			const value = this.last ? of(this.last) : undefined;
			return value === undefined ? [] : [make('div', { class: 'tile' }, make('dt', {}, name),
				make('dd', {}, format(value)))];
		}));
	}
}
