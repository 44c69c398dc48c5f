// SPDX-License-Identifier: Apache-2.0
// A chart of a few series over the last minutes: lines on a grid, the latest values beside the
// names, and the values of any moment under the pointer or, by arrow keys, the focus.
import { make, makeSvg } from '../lib/dom.js';

// Of the drawing; it is stretched to the width that there is. The labels stand beside and below it.
const WIDTH = 600;
const HEIGHT = 140;
const TOP = 8;
const BOTTOM = 2;

// The next round number above value: 1, 2, 2.5 or 5 times a power of ten (or of 1024 for bytes).
export function ceiling(value, base = 10) {
	if (!(value > 0)) {
		return 1;
	}
	if (base === 1024) {
		const power = 1024 ** Math.max(0, Math.floor(Math.log(value) / Math.log(1024)));
		return ceiling(value / power) * power;
	}
	const power = 10 ** Math.floor(Math.log10(value) + 1e-9);
	return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999999);
}

export class Chart {
	// series: [{key, name}], format(value) -> text, options: {base, least, axis}, axis
	// being the format of the numbers beside the grid
	constructor(title, series, format, options = {}) {
		this.title = title;
		this.series = series;
		this.format = format;
		this.options = options;
		this.points = [];
		this.parts = [];
		this.cursor = null;
		this.element = make('section', { class: 'chart' }, make('h3', {}, title), this.makeLegend(),
			this.makePlot());
		this.note = make('p', { class: 'chart-note muted', hidden: true });
		this.element.append(this.note);
		this.showValues();
	}

	makeLegend() {
		this.values = this.series.map(() => make('b', {}, '–'));
		return make('p', { class: 'legend' }, ...this.series.map(({ name }, index) =>
			make('span', { class: `key series-${index}` }, name, ' ', this.values[index])));
	}

	makePlot() {
		const svg = this.svg = makeSvg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: 'plot', tabindex: '0',
			role: 'img', preserveAspectRatio: 'none' });
		this.grid = makeSvg('g', { class: 'grid' });
		this.lines = this.series.map((_series, index) => {
			const area = makeSvg('path', { class: `area series-${index}` });
			const line = makeSvg('path', { class: `line series-${index}` });
			return { area, line };
		});
		this.marker = makeSvg('path', { class: 'marker' });
		svg.append(this.grid, ...this.lines.map(({ area }) => area), ...this.lines.map(({ line }) => line),
			this.marker);
		this.labels = make('div', { class: 'plot-labels', 'aria-hidden': 'true' });
		this.tip = make('div', { class: 'tip', hidden: true });
		svg.addEventListener('pointermove', (event) => this.point(event));
		svg.addEventListener('pointerleave', () => this.moveTo(null));
		svg.addEventListener('blur', () => this.moveTo(null));
		svg.addEventListener('keydown', (event) => this.onKey(event));
		return make('div', { class: 'plot-box' }, svg, this.labels, this.tip);
	}

	// points: [{time, [key]: value or undefined}], the oldest first; from, to: the time shown.
	draw(points, from, to, note = '') {
		this.points = points.filter(({ time }) => time >= from);
		this.from = from;
		this.to = to;
		this.note.hidden = note === '';
		this.note.textContent = note;
		const values = this.points.flatMap((point) => this.series.map(({ key }) => point[key]))
			.filter((value) => value !== undefined);
		this.most = ceiling(Math.max(...values, this.options.least ?? 1), this.options.base);
		this.lines.forEach(({ area, line }, index) => {
			const path = this.path(this.series[index].key);
			line.setAttribute('d', path.line);
			area.setAttribute('d', path.area);
		});
		this.drawGrid();
		this.showValues(this.cursor ?? this.points[this.points.length - 1]);
		this.moveTo(this.cursor && this.points.includes(this.cursor) ? this.cursor : null);
	}

	x(time) {
		return WIDTH * (time - this.from) / (this.to - this.from);
	}

	y(value) {
		return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / this.most);
	}

	// A moment without a value leaves a gap.
	path(key) {
		let line = '';
		let area = '';
		let run = [];
		const end = () => {
			if (run.length) {
				const first = run[0].split(',')[0];
				const last = run[run.length - 1].split(',')[0];
				line += `M${run.join('L')}${run.length === 1 ? 'h.5' : ''}`;
				area += `M${first},${this.y(0)}L${run.join('L')}L${last},${this.y(0)}Z`;
			}
			run = [];
		};
		for (const point of this.points) {
			if (point[key] === undefined) {
				end();
			} else {
				run.push(`${this.x(point.time).toFixed(1)},${this.y(point[key]).toFixed(1)}`);
			}
		}
		end();
		return { line, area };
	}

	drawGrid() {
		const steps = [0, 0.5, 1];
		this.grid.replaceChildren(...steps.map((step) => makeSvg('path',
			{ d: `M0,${this.y(step * this.most)}H${WIDTH}` })));
		const labels = steps.map((step) => {
			const label = make('span', { class: 'label-y' }, (this.options.axis ?? this.format)(step * this.most));
			label.style.top = `${100 * this.y(step * this.most) / HEIGHT}%`;
			return label;
		});
		const span = (this.to - this.from) / 1000;
		for (const part of [1, 0.5]) {
			const seconds = span * part;
			const label = make('span', { class: 'label-x' },
				`−${seconds < 60 ? `${seconds} s` : `${+(seconds / 60).toFixed(1)} min`}`);
			label.style.left = `${100 * this.x(this.to - seconds * 1000) / WIDTH}%`;
			labels.push(label);
		}
		labels.push(make('span', { class: 'label-x last' }, 'now'));
		this.labels.replaceChildren(...labels);
	}

	showValues(point) {
		const texts = this.series.map(({ key }) =>
			point?.[key] === undefined ? '–' : this.format(point[key]));
		texts.forEach((text, index) => {
			this.values[index].textContent = text;
		});
		this.svg.setAttribute('aria-label', `${this.title}: ${this.series.map(({ name }, index) =>
			`${name} ${texts[index]}`).join(', ')}`);
	}

	nearest(time) {
		let best = null;
		for (const point of this.points) {
			if (!best || Math.abs(point.time - time) < Math.abs(best.time - time)) {
				best = point;
			}
		}
		return best;
	}

	point(event) {
		const box = this.svg.getBoundingClientRect();
		const x = (event.clientX - box.left) / box.width * WIDTH;
		this.moveTo(this.nearest(this.from + x / WIDTH * (this.to - this.from)));
	}

	onKey(event) {
		const at = this.points.indexOf(this.cursor);
		const index = { ArrowLeft: (at < 0 ? this.points.length : at) - 1, ArrowRight: at + 1,
			Home: 0, End: this.points.length - 1 }[event.key];
		if (event.key === 'Escape') {
			this.moveTo(null);
		} else if (index !== undefined && this.points.length) {
			this.moveTo(this.points[Math.min(Math.max(index, 0), this.points.length - 1)]);
			event.preventDefault();
		}
	}

	moveTo(point) {
		this.cursor = point;
		this.marker.setAttribute('d', point ? `M${this.x(point.time)},${TOP}V${HEIGHT - BOTTOM}` : '');
		this.tip.hidden = !point;
		if (point) {
			this.tip.textContent = new Date(point.time).toLocaleTimeString('en-GB');
			this.tip.style.left = `${100 * this.x(point.time) / WIDTH}%`;
		}
		this.showValues(point ?? this.points[this.points.length - 1]);
	}
}
