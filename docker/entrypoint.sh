#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Starts the broker in a container: with the configuration that is mounted, or with one that is made
# from the environment. docs/container.md says which variables there are.
set -eu

conf_dir=${NIGHTJAR_CONF_DIR:-/etc/nightjar}
data_dir=${NIGHTJAR_DATA_DIR:-/var/lib/nightjar}
run_dir=${NIGHTJAR_RUN_DIR:-/run/nightjar}

die() {
	printf 'nightjar container: %s\n' "$*" >&2
	exit 1
}

# A line break in a variable must not become a second option.
check_lines() {
	for variable in NIGHTJAR_LISTENER NIGHTJAR_USERNAME NIGHTJAR_PASSWORD NIGHTJAR_ACL_FILE \
		NIGHTJAR_LOG_TYPES; do
		value=
		eval "value=\${$variable:-}"
		case $value in
		*'
'*) die "$variable has more than one line" ;;
		esac
	done
}

is_true() {
	case $2 in
	true | yes | on | 1) return 0 ;;
	false | no | off | 0 | '') return 1 ;;
	*) die "$1 is '$2': use true or false" ;;
	esac
}

password() {
	if [ -n "${NIGHTJAR_PASSWORD_FILE:-}" ]; then
		[ -z "${NIGHTJAR_PASSWORD:-}" ] ||
			die "NIGHTJAR_PASSWORD and NIGHTJAR_PASSWORD_FILE are set: use one of them"
		[ -r "$NIGHTJAR_PASSWORD_FILE" ] ||
			die "cannot read NIGHTJAR_PASSWORD_FILE $NIGHTJAR_PASSWORD_FILE"
		head -n 1 "$NIGHTJAR_PASSWORD_FILE"
	elif [ -n "${NIGHTJAR_PASSWORD:-}" ]; then
		printf '%s\n' "$NIGHTJAR_PASSWORD"
	else
		die "NIGHTJAR_USERNAME is set, but neither NIGHTJAR_PASSWORD nor NIGHTJAR_PASSWORD_FILE"
	fi
}

users() {
	[ -n "${NIGHTJAR_USERNAME:-}" ] || return 0
	secret=$(password) || exit 1
	rm -f "$run_dir/passwords"
	printf '%s\n' "$secret" | nightjar-passwd -c "$run_dir/passwords" "$NIGHTJAR_USERNAME" >/dev/null ||
		die "cannot make the password file in $run_dir"
	echo "password_file $run_dir/passwords"
}

configuration() {
	echo "# Made from the environment at each start of the container."
	echo "listener ${NIGHTJAR_LISTENER:-1883}"
	echo "protocol any"
	if is_true NIGHTJAR_ALLOW_ANONYMOUS "${NIGHTJAR_ALLOW_ANONYMOUS:-}"; then
		echo "allow_anonymous true"
	elif [ -z "${NIGHTJAR_USERNAME:-}" ]; then
		die "nobody could connect. Mount a configuration at $conf_dir/nightjar.conf, or set
NIGHTJAR_USERNAME and NIGHTJAR_PASSWORD, or NIGHTJAR_ALLOW_ANONYMOUS=true"
	else
		echo "allow_anonymous false"
	fi
	users
	if [ -n "${NIGHTJAR_ACL_FILE:-}" ]; then
		echo "acl_file $NIGHTJAR_ACL_FILE"
	fi
	if is_true NIGHTJAR_PERSISTENCE "${NIGHTJAR_PERSISTENCE:-true}"; then
		echo "persistence true"
		echo "persistence_location $data_dir/"
	fi
	echo "log_dest stderr"
	for type in ${NIGHTJAR_LOG_TYPES:-error warning notice information}; do
		echo "log_type $type"
	done
}

# Prints the path of the configuration that holds.
choose() {
	if [ -e "$conf_dir/nightjar.conf" ]; then
		[ -z "${NIGHTJAR_USERNAME:-}${NIGHTJAR_ALLOW_ANONYMOUS:-}${NIGHTJAR_ACL_FILE:-}" ] ||
			die "$conf_dir/nightjar.conf is there, and NIGHTJAR_... variables as well: use one \
or the other"
		echo "$conf_dir/nightjar.conf"
		return
	fi
	# What asks the running broker must not change its files.
	case " $* " in
	*' --healthcheck '*) ;;
	*)
		check_lines
		configuration >"$run_dir/nightjar.conf.new" || exit 1
		mv "$run_dir/nightjar.conf.new" "$run_dir/nightjar.conf"
		;;
	esac
	echo "$run_dir/nightjar.conf"
}

# A program of the image, a shell for example, instead of the broker.
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
	exec "$@"
fi
umask 077
file=$(choose "$@")
exec nightjar -c "$file" "$@"
