// SPDX-License-Identifier: Apache-2.0
// Readings for the live view: /metrics every two seconds, or $SYS when there are no metrics.
import { link } from '../link/link.js';
import { parse } from './prometheus.js';
import { readMetrics, readSys } from './reading.js';

const METRICS_MS = 2000;
// While there is no /metrics, ask again now and then: the broker may have been reconfigured.
const ASK_AGAIN_MS = 20000;
const SYS = '$SYS/broker/';
// Filters that nobody else is likely to subscribe to, so that nothing is replaced.
const SYS_FILTERS = ['uptime', 'publish/messages/+', 'bytes/+', 'clients/+', 'subscriptions/count',
	'retained messages/count', 'heap/current'];
const SYS_IDENTIFIER = 268435455;

export class LiveSource extends EventTarget {
	constructor() {
		super();
		// 'metrics', 'sys', or '' while neither gives anything
		this.kind = '';
		this.status = 0;
		this.topics = new Map();
		this.isSubscribed = false;
		this.sysTimer = 0;
		link.addEventListener('state', () => this.onLink());
		this.poll();
	}

	async poll() {
		const started = Date.now();
		const text = await this.fetchMetrics();
		if (text !== null) {
			this.kind = 'metrics';
			this.give(readMetrics(parse(text), started));
		} else {
			if (this.kind === 'metrics') {
				this.kind = '';
				this.dispatchEvent(new Event('change'));
			}
			this.useSys();
		}
		// A broker that is away is asked for as often: its restart should be seen.
		const pause = text !== null || this.status === 0 ? METRICS_MS : ASK_AGAIN_MS;
		setTimeout(() => this.poll(), Math.max(0, started + pause - Date.now()));
	}

	async fetchMetrics() {
		try {
			const response = await fetch('metrics', { cache: 'no-store', signal: AbortSignal.timeout(5000) });
			this.status = response.status;
			const text = response.ok ? await response.text() : '';
			return text.includes('nightjar_') ? text : null;
		} catch {
			this.status = 0;
			return null;
		}
	}

	give(reading) {
		this.dispatchEvent(new CustomEvent('reading', { detail: reading }));
	}

	onLink() {
		this.isSubscribed = false;
		this.topics.clear();
		if (this.kind !== 'metrics') {
			this.kind = '';
			this.useSys();
		}
		this.dispatchEvent(new Event('change'));
	}

	async useSys() {
		if (this.isSubscribed || !link.isConnected || this.kind === 'metrics') {
			return;
		}
		this.isSubscribed = true;
		const identifier = link.wanted.version === 5 &&
			link.now.properties?.subscriptionIdentifiersAvailable !== false ? SYS_IDENTIFIER : 0;
		for (const name of SYS_FILTERS) {
			link.ask('subscribe', { filter: SYS + name, qos: 0, noLocal: false, retainAsPublished: false,
				retainHandling: 0, identifier });
		}
	}

	// Takes what is meant for the live view; true if nobody else asked for the message.
	hear(message) {
		if (!this.isSubscribed || !message.topic.startsWith(SYS)) {
			return false;
		}
		this.topics.set(message.topic.slice(SYS.length), new TextDecoder().decode(message.payload));
		// The topics of one round come together; the reading is made when they are all there.
		clearTimeout(this.sysTimer);
		this.sysTimer = setTimeout(() => this.giveSys(message.time), 300);
		return message.subscriptions.length === 0;
	}

	giveSys(time) {
		if (this.kind !== 'metrics' && this.topics.size) {
			this.kind = 'sys';
			this.give(readSys(this.topics, time));
		}
	}
}
