// SPDX-License-Identifier: Apache-2.0
// The dialog that shows a subscription or a publication as commands.
import { byId, copyText, icon, make } from '../lib/dom.js';
import { guessTarget, mosquittoPub, mosquittoSub, scriptPub, scriptSub } from '../lib/commands.js';
import { load, save } from '../lib/storage.js';
import { link } from '../link/link.js';
import { wantedConnection } from './connect.js';

const dialog = byId('commands');
const host = byId('commands-host');
const port = byId('commands-port');
let shown = null;

function connection() {
	return link.isConnected ? link.wanted : wantedConnection();
}

function target() {
	return { ...guessed(), host: host.value.trim(), port: port.value.trim() };
}

function guessed() {
	try {
		return guessTarget(connection().url);
	} catch {
		return { host: location.hostname, port: '1883', tls: false };
	}
}

function block(title, text) {
	const copy = make('button', { type: 'button', class: 'plain', 'aria-label': `Copy ${title}`,
		onclick: () => copyText(text, copy) }, icon('copy'), make('span', {}, 'Copy'));
	return make('section', { class: 'command' },
		make('header', { class: 'command-head' }, make('h3', {}, title), copy),
		make('pre', { class: 'mono', tabindex: '0' }, text));
}

function draw() {
	const from = connection();
	const { subscription, publication } = shown;
	const blocks = subscription
		? [block('mosquitto_sub', mosquittoSub(from, subscription, target())),
			block('MQTT.js', scriptSub(from, subscription, from.url))]
		: [block('mosquitto_pub', mosquittoPub(from, publication, target())),
			block('MQTT.js', scriptPub(from, publication, from.url))];
	byId('commands-list').replaceChildren(...blocks);
	const notes = ['mosquitto’s clients speak MQTT over TCP, so they may need another port than this page.'];
	if (from.password) {
		notes.push('The password is not written here: set the variable MQTT_PASSWORD first.');
	}
	if (subscription?.noLocal && from.version === 5) {
		notes.push('mosquitto_sub has no option for No Local.');
	}
	byId('commands-note').textContent = notes.join(' ');
}

// what: {subscription} or {publication}
export function showCommands(what) {
	shown = what;
	const known = load('commands', {})[connection().url];
	host.value = known?.host ?? guessed().host;
	port.value = known?.port ?? guessed().port;
	draw();
	dialog.showModal();
}

export function startCommands() {
	for (const field of [host, port]) {
		field.addEventListener('input', () => {
			save('commands', { ...load('commands', {}), [connection().url]: target() });
			draw();
		});
	}
	// A click beside the dialog closes it.
	dialog.addEventListener('click', (event) => {
		if (event.target === dialog) {
			dialog.close();
		}
	});
}
