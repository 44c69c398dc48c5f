// SPDX-License-Identifier: Apache-2.0
// Publishing one message, with everything that MQTT can say about it.
import { byId, icon, make, showProblem, showWhen } from '../lib/dom.js';
import { grouped } from '../lib/commands.js';
import { bestForm, bytesOf, hexOf, textOf } from '../lib/payload.js';
import { load, save } from '../lib/storage.js';
import { topicProblem } from '../lib/topics.js';
import { explainPublish } from '../link/errors.js';
import { link } from '../link/link.js';
import { isVersion5 } from './connect.js';

const UTF8 = new TextEncoder();
const form = byId('publish-form');
const fields = form.elements;
const problem = byId('publish-problem');
const result = byId('publish-result');
const pairs = byId('user-properties');

function addPair(name = '', value = '') {
	const row = make('div', { class: 'joined' },
		make('input', { type: 'text', class: 'mono', value: name, placeholder: 'name', 'aria-label': 'Name of the user property' }),
		make('input', { type: 'text', class: 'mono', value, placeholder: 'value', 'aria-label': 'Value of the user property' }),
		make('button', { type: 'button', class: 'icon-button', 'aria-label': 'Remove the user property',
			title: 'Remove', onclick: () => {
				row.remove();
				byId('add-user-property').focus();
			} }, icon('x')));
	pairs.append(row);
	return row;
}

function userProperties() {
	return Array.from(pairs.children, (row) => Array.from(row.querySelectorAll('input'), ({ value }) => value))
		.filter(([name]) => name !== '');
}

// Only what was filled in.
function properties() {
	const given = {};
	if (fields.contentType.value) {
		given.contentType = fields.contentType.value;
	}
	if (fields.responseTopic.value) {
		given.responseTopic = fields.responseTopic.value;
	}
	if (fields.correlationData.value) {
		given.correlationData = UTF8.encode(fields.correlationData.value);
	}
	if (fields.messageExpiryInterval.value) {
		given.messageExpiryInterval = Number(fields.messageExpiryInterval.value);
	}
	if (fields.payloadFormatIndicator.checked) {
		given.payloadFormatIndicator = true;
	}
	const users = userProperties();
	if (users.length) {
		given.userProperties = users;
	}
	return given;
}

// {publication} of the form, or {problem, field}.
export function publicationOf() {
	const topic = fields.topic.value;
	const wrong = topicProblem(topic) ||
		(/[+#]/.test(fields.responseTopic.value) && isVersion5() ? 'The response topic is one topic, without + and #.' : '');
	if (wrong) {
		return { problem: wrong, field: topicProblem(topic) ? fields.topic : fields.responseTopic };
	}
	const { bytes, problem: unclear } = bytesOf(fields.payload.value, fields.form.value);
	if (unclear) {
		return { problem: unclear, field: fields.payload };
	}
	return { publication: { topic, payload: bytes, qos: Number(fields.qos.value),
		retain: fields.retain.checked, properties: isVersion5() ? properties() : {} } };
}

// The complaint stands below the field that it is about, or above the button.
function complain(text, field = null) {
	if (field) {
		field.closest('.field').after(problem);
	} else {
		form.querySelector('.actions').before(problem);
	}
	showProblem(problem, text);
	result.textContent = '';
	for (const one of [fields.topic, fields.payload, fields.responseTopic]) {
		one.setAttribute('aria-invalid', one === field);
	}
	field?.focus();
}

function forWorker(publication) {
	const more = { ...publication.properties };
	if (more.userProperties) {
		more.userProperties = grouped(more.userProperties);
	}
	return { ...publication, properties: Object.keys(more).length ? more : undefined };
}

const SAID = { 0: ['Sent', 'Acknowledged', 'Received by the broker'] };

function resultText(answer, publication) {
	if (answer.code === 0x10) {
		return 'Acknowledged; nobody has subscribed to it';
	}
	const text = SAID[0][publication.qos];
	const ms = answer.ms < 10 ? answer.ms.toFixed(1) : Math.round(answer.ms);
	return publication.qos ? `${text} in ${ms} ms` : text;
}

async function submit(event) {
	event?.preventDefault();
	const { publication, problem: wrong, field } = publicationOf();
	if (wrong) {
		complain(wrong, field);
		return;
	}
	if (!link.isConnected) {
		complain('Not connected. Connect first; nothing was sent.');
		return;
	}
	complain('');
	const answer = await link.ask('publish', forWorker(publication));
	if (answer.ok) {
		result.textContent = resultText(answer, publication);
		result.classList.remove('fresh');
		requestAnimationFrame(() => result.classList.add('fresh'));
	} else if (answer.code) {
		const told = explainPublish(answer.code, publication.topic, answer.reasonString);
		complain(`${told.title}. ${told.text}`);
	} else {
		complain(`Not confirmed: ${answer.text}.`);
	}
}

function remember() {
	save('publication', { topic: fields.topic.value, payload: fields.payload.value.slice(0, 100000),
		form: fields.form.value, qos: fields.qos.value, retain: fields.retain.checked });
}

function fill({ topic = '', payload = '', form: typed = 'text', qos = '0', retain = false }) {
	fields.topic.value = topic;
	fields.payload.value = payload;
	fields.form.value = typed;
	fields.qos.value = qos;
	fields.retain.checked = retain;
}

function fillProperties(given = {}) {
	fields.contentType.value = given.contentType ?? '';
	fields.responseTopic.value = given.responseTopic ?? '';
	fields.correlationData.value = given.correlationData ? textOf(given.correlationData) ?? '' : '';
	fields.messageExpiryInterval.value = given.messageExpiryInterval ?? '';
	fields.payloadFormatIndicator.checked = Boolean(given.payloadFormatIndicator);
	pairs.replaceChildren();
	for (const [name, value] of given.userProperties ?? []) {
		addPair(name, value);
	}
	byId('publish-more').open = Object.keys(given).some((key) => key in fields || key === 'userProperties');
}

// A received message into the form, to be changed and sent again.
export function fillFrom(message) {
	const best = bestForm(message.payload);
	fill({ topic: message.topic, form: best, qos: String(message.qos), retain: message.retain,
		payload: best === 'hex' ? hexOf(message.payload) : textOf(message.payload) });
	fillProperties(message.properties);
	complain('');
	remember();
	fields.topic.focus();
}

// The form for the answer that a message asks for.
export function fillAnswer({ properties: asked }) {
	fill({ topic: asked.responseTopic, qos: fields.qos.value });
	fillProperties(asked.correlationData ? { correlationData: asked.correlationData } : {});
	complain('');
	fields.payload.focus();
}

export function startPublish(oncommands) {
	fill({ topic: 'hello/world', payload: 'first words', ...load('publication', {}) });
	form.addEventListener('submit', submit);
	form.addEventListener('input', remember);
	form.addEventListener('keydown', (event) => {
		if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
			submit(event);
		}
	});
	byId('add-user-property').addEventListener('click', () => addPair().querySelector('input').focus());
	byId('publish-commands').addEventListener('click', () => {
		const { publication, problem: wrong, field } = publicationOf();
		complain(wrong ?? '', field);
		if (publication) {
			oncommands(publication);
		}
	});
	const version = () => showWhen(form, { v5: isVersion5() });
	byId('connect-form').addEventListener('versionchange', version);
	version();
}
