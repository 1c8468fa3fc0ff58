#!/bin/bash
# Makes a bare Debian into Traptor's test environment: Redis, Kafka, a simulated Twitter and a Traptor, all under
# supervisor. Run as root, with the checkout in /vagrant, as often as you like: what is there already stays as it is.
set -euo pipefail

KAFKA_URL=${KAFKA_URL:-https://archive.apache.org/dist/kafka/4.3.1/kafka_2.13-4.3.1.tgz}
KAFKA_SHA256=${KAFKA_SHA256:-f118328b2d053497350d5befd82c08db7ffd710327ff52943dd5caaa1b25db21}
PACKAGES=(curl default-jre-headless jq kcat python3-venv redis-server supervisor)
HERE=/vagrant/vagrant

main() {
    install_packages
    install_kafka
    install_traptor
    place_settings
    place_programs
    load_rules
    start_what_stopped
    supervisorctl status
}

install_packages() {
    if ! dpkg --status "${PACKAGES[@]}" >/dev/null 2>&1; then
        apt-get update --quiet=2
        DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends "${PACKAGES[@]}"
    fi
    # Supervisor runs Redis, not Debian's own service.
    service redis-server stop
    update-rc.d redis-server disable
}

install_kafka() {
    add_user kafka
    if [ "$(cat /opt/kafka/sha256 2>/dev/null)" != "$KAFKA_SHA256" ]; then
        curl --fail --location --silent --show-error --output /tmp/kafka.tgz "$KAFKA_URL"
        echo "$KAFKA_SHA256  /tmp/kafka.tgz" | sha256sum --check --quiet
        rm -rf /opt/kafka && mkdir /opt/kafka
        tar --extract --gzip --no-same-owner --strip-components 1 --directory /opt/kafka --file /tmp/kafka.tgz
        rm /tmp/kafka.tgz
        echo "$KAFKA_SHA256" >/opt/kafka/sha256
    fi
    if [ ! -e /var/lib/kafka/store ]; then
        java -cp '/opt/kafka/libs/*' kafka.tools.StorageTool format --standalone --config "$HERE/kafka.properties" \
            --cluster-id "$(head --bytes 16 /dev/urandom | base64 | tr '+/' '-_' | tr --delete '=')" >/dev/null
        chown --recursive kafka:kafka /var/lib/kafka
    fi
}

# The code runs from /vagrant; here is only what it needs.
install_traptor() {
    local home=/opt/traptor/current
    add_user traptor
    install --directory --owner traptor --group traptor --mode 700 /var/spool/traptor /var/log/traptor /etc/traptor
    cmp --quiet /vagrant/requirements.lock $home/requirements.lock && return
    python3 -m venv $home
    $home/bin/pip install --quiet --require-hashes --requirement /vagrant/requirements.lock
    cp /vagrant/requirements.lock $home/
}

# Settings are yours once they are there.
place_settings() {
    place_once /etc/traptor/traptor.env <"$HERE/traptor.env"
    place_once /etc/traptor/track:0.env <"$HERE/key.env"
}

place_programs() {
    place /usr/local/bin/traptor-run 755 </vagrant/supervisor/traptor-run
    sed 's,^directory=.*,directory=/vagrant,' /vagrant/supervisor/traptor.conf |
        place /etc/supervisor/conf.d/traptor.conf 644
    place /etc/supervisor/conf.d/servers.conf 644 <"$HERE/servers.conf"
    supervisorctl pid >/dev/null 2>&1 || service supervisor start
    supervisorctl update
}

# Rules are yours too, once there are any.
load_rules() {
    local seconds=0
    until redis-cli ping >/dev/null 2>&1; do
        [ $((seconds += 1)) -le 30 ] || { echo "Redis does not answer" >&2; exit 1; }
        sleep 1
    done
    [ -z "$(redis-cli --scan --pattern 'traptor-*')" ] || return 0
    redis-cli hset traptor-track:0:1 value storm tag weather >/dev/null
    redis-cli hset traptor-track:0:2 value espresso tag coffee >/dev/null
    redis-cli publish traptor-notify track:0 >/dev/null
}

# After a boot /vagrant is mounted later than supervisor starts, which has given up by now.
start_what_stopped() {
    supervisorctl start all >/dev/null || true
}

add_user() {
    id "$1" >/dev/null 2>&1 || useradd --system --create-home --home-dir "/var/lib/$1" --shell /usr/sbin/nologin "$1"
}

place_once() {
    [ -e "$1" ] || install --owner traptor --group traptor --mode 600 /dev/stdin "$1"
}

# place PATH MODE: standard input becomes this file, unless it is that already.
place() {
    local new
    new=$(mktemp)
    cat >"$new"
    cmp --quiet "$new" "$1" || install --mode "$2" "$new" "$1"
    rm "$new"
}

main
