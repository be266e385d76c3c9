//! Two sites on one machine, each with a server of its own.

use std::process::Stdio;

use crate::machine::{JSOCKETD, Machine, SITE, Said, assert_same};

const SHOP: &str = "/var/www/shop";

/// Starts both servers as their units would, waits until both are ready, asks each for its state, and ends them.
const BOTH: &str = r#"
ip link set lo up
mkdir -p /run/jsocketd /run/jsocketd-shop
RUNTIME_DIRECTORY=/run/jsocketd PROGRAM serve >/tmp/first 2>&1 &
first=$!
RUNTIME_DIRECTORY=/run/jsocketd-shop PROGRAM serve --config /etc/jsocketd/shop.toml >/tmp/second 2>&1 &
second=$!
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
    PROGRAM status --ready && PROGRAM status --ready --config /etc/jsocketd/shop.toml && break
    sleep 0.5
done
PROGRAM status --json; echo
PROGRAM status --json --config /etc/jsocketd/shop.toml; echo
kill $first $second
wait $first; echo "first: $?"
wait $second; echo "second: $?"
cat /tmp/first /tmp/second
"#;

fn machine() -> Machine {
    let machine = Machine::new();
    machine.site(SHOP, "http://shop.example");
    machine.nginx_site(
        "site",
        "server { listen 80; server_name www.example.org; root /var/www/site; }\n",
    );
    machine.nginx_site(
        "shop",
        "server {\n\tlisten 80;\n\tserver_name shop.example;\n\troot /var/www/shop;\n}\n",
    );
    machine
}

#[test]
fn two_sites_have_two_servers_beside_each_other() {
    let machine = machine();
    let before = machine.state();
    machine.good_setup(&["--joomla", SITE, "--yes"]);
    let with_first = machine.state();
    let text = machine.good_setup(&["--joomla", SHOP, "--instance", "shop", "--yes"]);
    assert!(
        text.contains("systemctl enable --now jsocketd@shop.service\n"),
        "{text}"
    );
    assert!(
        text.contains("ws://shop.example/ws, \"Address for PHP\" http://127.0.0.1:8081\n"),
        "{text}"
    );
    let toml = machine.read("/etc/jsocketd/shop.toml");
    assert!(
        toml.contains("listen = [\"127.0.0.1:8081\"]") && toml.contains("root = \"/var/www/shop\""),
        "{toml}"
    );
    assert!(
        machine
            .read("/etc/nginx/conf.d/jsocketd-shop.conf")
            .contains("upstream jsocketd_shop {\n    server 127.0.0.1:8081;")
    );
    let with_both = machine.state_with_times();
    for flags in [
        &["--joomla", SITE, "--yes"][..],
        &["--joomla", SHOP, "--instance", "shop", "--yes"],
    ] {
        assert!(machine.good_setup(flags).contains("nothing was written"), "{flags:?}");
    }
    assert_same(&machine.state_with_times(), &with_both);

    let output = machine
        .command(&["sh", "-c", &BOTH.replace("PROGRAM", JSOCKETD)])
        .stdin(Stdio::null())
        .output();
    let said = Said::of(&output.expect("unshare")).text;
    for words in [
        "\"/etc/jsocketd/jsocketd.toml\"",
        "\"/etc/jsocketd/shop.toml\"",
        "first: 0\n",
        "second: 0\n",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    for address in ["http://127.0.0.1:8080/", "http://127.0.0.1:8081/"] {
        assert!(said.contains(&format!("listening on {address}")), "{said}");
    }
    assert!(!said.contains("panicked") && !said.contains("has the socket"), "{said}");
    for left in ["/run/jsocketd", "/run/jsocketd-shop"] {
        std::fs::remove_dir_all(machine.path(left)).expect("it was made");
    }

    machine.good_setup(&["--remove", "--instance", "shop", "--yes"]);
    assert_same(&machine.state(), &with_first);
    machine.good_setup(&["--remove", "--yes"]);
    assert_same(&machine.state(), &before);
}

#[test]
fn what_two_instances_share_goes_with_the_last_one() {
    let machine = machine();
    let before = machine.state();
    let shop = ["--joomla", SHOP, "--instance", "shop", "--yes"];
    let site = ["--joomla", SITE, "--instance", "main", "--yes"];
    machine.good_setup(&shop);
    machine.good_setup(&site);
    machine.good_setup(&["--remove", "--instance", "shop", "--yes"]);
    assert!(machine.has("/etc/systemd/system/jsocketd@.service"));
    assert!(!machine.has("/etc/jsocketd/shop.toml") && machine.has("/etc/jsocketd/main.toml"));
    assert!(machine.good_setup(&site).contains("nothing was written"));
    machine.good_setup(&["--remove", "--instance", "main", "--yes"]);
    assert_same(&machine.state(), &before);
}

#[test]
fn a_second_site_needs_a_name_and_a_host_of_its_own() {
    let machine = machine();
    machine.good_setup(&["--joomla", SITE, "--yes"]);
    let before = machine.state_with_times();
    let why = machine.bad_setup(&["--joomla", SHOP, "--yes"]);
    assert!(
        why.contains("/etc/jsocketd/jsocketd.toml is for the site in /var/www/site"),
        "{why}"
    );
    assert!(why.contains("--instance NAME"), "{why}");
    let why = machine.bad_setup(&["--joomla", SITE, "--instance", "again", "--yes"]);
    assert!(
        why.contains("one host cannot pass the same path on to two servers"),
        "{why}"
    );
    for name in ["jsocketd", "../x", "A", ""] {
        let why = machine.bad_setup(&["--joomla", SITE, "--instance", name, "--yes"]);
        assert!(why.contains("name"), "{name}: {why}");
    }
    assert_same(&machine.state_with_times(), &before);
}
