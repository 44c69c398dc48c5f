// SPDX-License-Identifier: Apache-2.0
// The connection: its form, what is known of it once it stands, and what went wrong.
import { announce, byId, make, showNotice, showWhen } from '../lib/dom.js';
import { load, save } from '../lib/storage.js';
import { explain } from '../link/errors.js';
import { link } from '../link/link.js';

const form = byId('connect-form');
const fields = form.elements;
const notice = byId('connect-notice');
const pill = byId('state');
const pillText = byId('state-text');
let ticking = 0;
let hasFocus = false;

function ownAddress() {
	const given = new URLSearchParams(location.search).get('broker');
	if (given) {
		return given;
	}
	return `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/mqtt`;
}

function newClientId() {
	const bytes = crypto.getRandomValues(new Uint8Array(4));
	return `console-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}

// Everything but the password, and the address only where it is not the page's own.
function remember() {
	const kept = {};
	for (const field of fields) {
		if (field.name && field.type !== 'password' && (field.type !== 'radio' || field.checked)) {
			kept[field.name] = field.type === 'checkbox' ? field.checked : field.value;
		}
	}
	if (kept.url === ownAddress()) {
		delete kept.url;
	}
	save('connection', kept);
}

// Whoever made a link chose the address in it; a password typed here goes there.
function warnOfLink(url) {
	if (new URLSearchParams(location.search).has('broker') && !isOwnHost(url)) {
		showNotice(notice, { title: 'The link chose the broker', text: `It is not the one that this page came from. A user ` +
			`name and password entered here go to ${url}.` }, 'warn');
	}
}

function isOwnHost(url) {
	try {
		return new URL(url).hostname === location.hostname;
	} catch {
		return true;
	}
}

function recall() {
	const kept = { url: ownAddress(), ...load('connection', {}) };
	if (new URLSearchParams(location.search).has('broker')) {
		kept.url = ownAddress();
	}
	warnOfLink(kept.url);
	kept.clientId ||= newClientId();
	for (const [name, value] of Object.entries(kept)) {
		const field = fields.namedItem(name);
		if (!field) {
			continue;
		}
		if (field.type === 'checkbox') {
			field.checked = value;
		} else {
			field.value = value;
		}
	}
	byId('connect-more').open = fields.hasWill.checked;
}

// What the form says, for link.connect() and for commands.
export function wantedConnection() {
	const version = Number(fields.version.value);
	const clean = fields.session.value === 'clean';
	return {
		url: fields.url.value.trim(),
		version,
		clientId: fields.clientId.value.trim(),
		username: fields.username.value,
		password: fields.password.value,
		clean,
		sessionExpiry: clean ? 0 : Number(fields.sessionExpiry.value),
		keepAlive: Number(fields.keepAlive.value),
		will: fields.hasWill.checked && fields.willTopic.value ? {
			topic: fields.willTopic.value,
			payload: fields.willPayload.value,
			qos: Number(fields.willQos.value),
			retain: fields.willRetain.checked,
			delay: Number(fields.willDelay.value),
		} : null,
	};
}

export function isVersion5() {
	return fields.version.value === '5';
}

function onChange() {
	document.body.classList.toggle('is-v5', isVersion5());
	showWhen(form, { v5: isVersion5(), kept: fields.session.value === 'kept',
		will: fields.hasWill.checked });
	form.dispatchEvent(new Event('versionchange'));
	remember();
}

function problemOf(wanted) {
	if (!/^wss?:\/\/[^/]/.test(wanted.url)) {
		return { kind: 'address', url: wanted.url };
	}
	if (location.protocol === 'https:' && wanted.url.startsWith('ws:') &&
		!/^ws:\/\/(localhost|127\.|\[::1\])/.test(wanted.url)) {
		return { kind: 'mixed', url: wanted.url };
	}
	return null;
}

function submit() {
	if (!fields.clientId.value.trim()) {
		fields.clientId.value = newClientId();
	}
	const wanted = wantedConnection();
	remember();
	const problem = problemOf(wanted);
	showNotice(notice, problem && explain(problem));
	if (fields.hasWill.checked && !fields.willTopic.value) {
		byId('connect-more').open = true;
		fields.willTopic.focus();
		showNotice(notice, { title: 'The will has no topic',
			text: 'Enter the topic that the broker publishes the will to, or leave no will.' });
		return;
	}
	if (!problem) {
		link.connect(wanted);
	}
}

function durationText(ms) {
	const seconds = Math.floor(ms / 1000);
	if (seconds < 60) {
		return `${seconds} s`;
	}
	const minutes = Math.floor(seconds / 60);
	return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function facts() {
	const { wanted, now } = link;
	const { properties = {} } = now;
	const rows = [
		['Broker', wanted.url, 'mono'],
		['Client id', now.clientId, 'mono'],
		['User', wanted.username || 'anonymous', wanted.username ? 'mono' : ''],
		['MQTT', wanted.version === 5 ? '5' : '3.1.1', ''],
		['Session', now.sessionPresent ? 'resumed, with what waited in it'
			: wanted.clean ? 'clean' : 'new, persistent', ''],
		['Since', new Date(link.since).toLocaleTimeString('en-GB'), ''],
	];
	const limits = [['receiveMaximum', 'in flight'], ['maximumPacketSize', 'bytes a packet'],
		['topicAliasMaximum', 'topic aliases']]
		.filter(([key]) => properties[key] !== undefined)
		.map(([key, text]) => `${properties[key].toLocaleString('en')} ${text}`);
	if (properties.maximumQoS !== undefined) {
		limits.push(`QoS ${properties.maximumQoS} at most`);
	}
	if (limits.length) {
		rows.push(['Limits', limits.join(', '), '']);
	}
	byId('connected-facts').replaceChildren(...rows.flatMap(([name, value, kind]) =>
		[make('dt', {}, name), make('dd', { class: kind }, value)]));
}

function pillWords() {
	if (link.state === 'waiting') {
		const left = Math.max(0, Math.ceil((link.since + link.now.wait - Date.now()) / 1000));
		return `Reconnecting in ${left} s`;
	}
	if (link.state === 'connecting' && link.now.tries) {
		return `Reconnecting, attempt ${link.now.tries + 1}`;
	}
	if (link.state === 'refused') {
		return explain(link.now.fact).title;
	}
	if (link.state === 'connected') {
		return `Connected for ${durationText(Date.now() - link.since)}`;
	}
	return link.text;
}

function tick() {
	pillText.textContent = pillWords();
}

// A field that is disabled or hidden loses the focus; it stays near where it was.
function keepFocus(isUp) {
	const at = document.activeElement;
	if (hasFocus && (at === document.body || at.disabled || at.closest('[hidden]'))) {
		byId(isUp ? 'disconnect' : 'connect-button').focus();
	}
	hasFocus = form.contains(document.activeElement) || byId('connected').contains(document.activeElement);
}

function onState() {
	const { state, now } = link;
	pill.dataset.state = state;
	document.body.dataset.link = state;
	clearInterval(ticking);
	ticking = state === 'waiting' || state === 'connected' ? setInterval(tick, 1000) : 0;
	tick();
	const told = now.fact && state !== 'offline' ? explain(now.fact) : null;
	if (state !== 'connecting' && (told || link.wanted)) {
		showNotice(notice, told, state === 'waiting' ? 'warn' : 'bad');
	}
	const busy = state === 'connecting' || state === 'waiting';
	const isUp = state === 'connected';
	form.hidden = isUp;
	byId('connected').hidden = !isUp;
	byId('connect-button').textContent = state === 'waiting' ? 'Try now' : state === 'connecting'
		? 'Connecting …' : 'Connect';
	byId('connect-button').setAttribute('aria-disabled', state === 'connecting');
	byId('connect-cancel').hidden = !busy;
	for (const field of fields) {
		if (field.name) {
			field.disabled = busy;
		}
	}
	if (isUp) {
		facts();
	}
	keepFocus(isUp);
	announce(told ? `${link.text}: ${told.title}` : link.text);
}

export function startConnect() {
	recall();
	form.addEventListener('change', onChange);
	form.addEventListener('submit', (event) => {
		event.preventDefault();
		hasFocus = form.contains(document.activeElement);
		if (link.state === 'waiting') {
			link.retry();
		} else if (link.state !== 'connecting') {
			submit();
		}
	});
	byId('new-client-id').addEventListener('click', () => {
		fields.clientId.value = newClientId();
		remember();
	});
	for (const id of ['disconnect', 'connect-cancel']) {
		byId(id).addEventListener('click', () => {
			hasFocus = true;
			link.disconnect();
		});
	}
	link.addEventListener('state', onState);
	onChange();
	onState();
}
