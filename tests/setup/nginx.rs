//! A site behind nginx: it is set up, set up again, and taken away.

use crate::machine::{JSOCKETD, Machine, SITE, assert_same};

/// As certbot leaves a site: a redirect, TLS in a second host, and another site beside it.
pub const SITE_TEXT: &str = "# the site { of a Joomla\r
server {\r
    listen 80;\r
    server_name www.example.org;\r
    return 301 https://$host$request_uri;\r
}\r
server {\r
    listen 443 ssl; # managed by Certbot\r
    listen [::]:443 ssl;\r
    server_name www.example.org;\r
    root /var/www/site;\r
    ssl_certificate /etc/ssl/site.crt;\r
    ssl_certificate_key /etc/ssl/site.pem;\r
    location / { try_files $uri $uri/ /index.php?$args; }\r
    location ~* \"\\.(js|css){1}$\" { expires 1d; }\r
}\r
server { listen 8081; root /var/www/site; }\r
server { listen 8082; root /var/www/other; }";

fn machine() -> Machine {
    let machine = Machine::new();
    machine.certificate();
    machine.nginx_site("site", SITE_TEXT);
    machine
}

#[test]
fn a_site_is_set_up_once_and_taken_away_without_a_trace() {
    let machine = machine();
    let before = machine.state();
    let text = machine.good_setup(&["--joomla", SITE, "--yes"]);
    for words in [
        "site               /var/www/site\n",
        "address            https://www.example.org ($live_site)\n",
        "configuration.php  /var/www/site/configuration.php (mode 0644, www-data:www-data)\n",
        "web server         nginx 1.",
        "www.example.org in /etc/nginx/sites-available/site, with TLS\n",
        "note: each open page takes two of nginx's worker_connections, of which each worker has 768; raise them",
        "+++ /etc/nginx/conf.d/jsocketd.conf\n",
        "+    include /etc/nginx/snippets/jsocketd.conf;\n",
        "nginx accepts its configuration.\n",
        "--config /etc/jsocketd/jsocketd.toml\n",
        "\nNext:\n  systemctl daemon-reload && systemctl enable --now jsocketd.service\n  systemctl reload nginx\n",
        "\"Address for Browsers\" wss://www.example.org/ws\n  jsocketd doctor https://www.example.org/\n",
    ] {
        assert!(text.contains(words), "{words}\nis missing in:\n{text}");
    }
    assert!(!text.contains("secret of"), "no secret is shown: {text}");
    // It was read as the server's user would: the database is the first thing that is missing.
    assert!(!text.contains("cannot be read"), "{text}");

    let file = machine.read("/etc/nginx/sites-available/site");
    let line = "    include /etc/nginx/snippets/jsocketd.conf;\r\n";
    assert_eq!(file.matches(line).count(), 1, "the redirect needs none: {file}");
    let inline = "server { include /etc/nginx/snippets/jsocketd.conf; listen 8081;";
    assert!(file.contains(inline), "{file}");
    assert_eq!(
        file.replace(line, "")
            .replace(" include /etc/nginx/snippets/jsocketd.conf;", ""),
        SITE_TEXT
    );
    assert!(machine.run(&["nginx", "-t"]).is_good);
    let toml = machine.read("/etc/jsocketd/jsocketd.toml");
    assert!(
        toml.contains("root = \"/var/www/site\"") && toml.contains("listen = [\"127.0.0.1:8080\"]"),
        "{toml}"
    );

    let set_up = machine.state_with_times();
    for path in [
        "etc/jsocketd",
        "etc/jsocketd/jsocketd.toml",
        "var/lib/jsocketd/setup.json",
    ] {
        let mode = if path.ends_with("json") {
            "100600 0:0"
        } else if path.ends_with("toml") {
            "100640 0:990"
        } else {
            "40750 0:990"
        };
        assert!(
            set_up[std::path::Path::new(path)].starts_with(mode),
            "{path}: {}",
            set_up[std::path::Path::new(path)]
        );
    }
    let text = machine.good_setup(&["--joomla", SITE, "--yes"]);
    assert!(
        text.contains("Everything is in its place already: nothing was written.\n"),
        "{text}"
    );
    assert!(!text.contains("systemctl"), "nothing is to be started anew: {text}");
    assert_same(&machine.state_with_times(), &set_up);

    let text = machine.good_setup(&["--remove", "--yes"]);
    assert!(
        text.contains("-    include /etc/nginx/snippets/jsocketd.conf;\n"),
        "{text}"
    );
    assert!(
        text.contains("Next:\n  systemctl daemon-reload\n  systemctl reload nginx\n"),
        "{text}"
    );
    assert_same(&machine.state(), &before);
    let text = machine.good_setup(&["--remove", "--yes"]);
    assert!(text.contains("There is nothing to remove"), "{text}");
    assert_same(&machine.state(), &before);
}

#[test]
fn a_websocket_goes_through_nginx() {
    machine().expect_websocket("nginx", "nginx -s reload");
}

#[test]
fn nginx_without_a_folder_for_snippets_gets_the_file_beside_its_own() {
    let machine = machine();
    std::fs::remove_dir_all(machine.path("/etc/nginx/snippets")).expect("Debian's");
    let before = machine.state();
    machine.good_setup(&["--joomla", SITE, "--yes"]);
    assert!(machine.read("/etc/nginx/jsocketd.conf").contains("location ^~ /ws/ {"));
    machine.good_setup(&["--remove", "--yes"]);
    assert_same(&machine.state(), &before);
}

#[test]
fn a_newer_version_replaces_the_text_of_an_older_one() {
    use sha2::Digest;
    let machine = machine();
    let before = machine.state();
    machine.good_setup(&["--joomla", SITE, "--yes"]);
    let after = machine.state();
    let (path, record) = ("/etc/nginx/snippets/jsocketd.conf", "/var/lib/jsocketd/setup.json");
    let sum = |text: &str| data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(text));
    let (new, old) = (machine.read(path), "location ^~ /ws/ { return 503; }\n");
    machine.write(path, old);
    machine.write(record, &machine.read(record).replace(&sum(&new), &sum(old)));
    machine.good_setup(&["--joomla", SITE, "--yes"]);
    assert_eq!(machine.read(path), new);
    let differs = machine
        .state()
        .into_iter()
        .filter(|(path, what)| after.get(path) != Some(what));
    assert_eq!(
        differs.map(|(path, _)| path).collect::<Vec<_>>(),
        [std::path::Path::new(&record[1..])]
    );
    machine.good_setup(&["--remove", "--yes"]);
    assert_same(&machine.state(), &before);
}

#[test]
fn the_units_are_those_that_systemd_takes() {
    let machine = machine();
    machine.good_setup(&["--joomla", SITE, "--yes"]);
    machine.site("/var/www/other", "");
    machine.good_setup(&[
        "--joomla",
        "/var/www/other",
        "--instance",
        "other",
        "--url",
        "http://other.example",
        "--yes",
    ]);
    let unit = machine.read("/etc/systemd/system/jsocketd.service");
    assert!(unit.contains(&format!("\nExecStart={JSOCKETD} serve\n")), "{unit}");
    for unit in ["jsocketd.service", "jsocketd@other.service"] {
        let said = machine.run(&["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit]);
        assert!(said.is_good && said.text.is_empty(), "{unit}: {}", said.text);
    }
}

#[test]
fn a_machine_without_systemd_gets_no_unit() {
    let machine = machine();
    let before = machine.state();
    let command = format!("mount -t tmpfs none /usr/lib/systemd && exec {JSOCKETD} setup");
    let said = machine.run(&["sh", "-c", &format!("{command} --joomla {SITE} --yes")]);
    assert!(said.is_good, "{}", said.text);
    for words in [
        "systemd            is not there, so no unit is written\n",
        "  start the server as the user jsocketd: jsocketd serve --config /etc/jsocketd/jsocketd.toml\n  nginx -s reload\n",
    ] {
        assert!(said.text.contains(words), "{words}: {}", said.text);
    }
    assert!(!machine.has("/etc/systemd/system/jsocketd.service"));
    let said = machine.run(&["sh", "-c", &format!("{command} --remove --yes")]);
    assert!(said.text.contains("\nNext:\n  nginx -s reload\n"), "{}", said.text);
    assert_same(&machine.state(), &before);
}

#[test]
fn a_packages_files_stay_and_only_the_root_is_filled_in() {
    let machine = machine();
    let sample = include_str!("../../conf/jsocketd.toml");
    machine.write("/etc/jsocketd/jsocketd.toml", sample);
    machine.write(
        "/etc/systemd/system/jsocketd.service",
        "[Service]\nExecStart=/bin/true\n",
    );
    let before = machine.state();
    let text = machine.good_setup(&["--joomla", SITE, "--yes"]);
    assert!(
        text.contains("unit               /etc/systemd/system/jsocketd.service is there already and stays as it is\n"),
        "{text}"
    );
    let toml = machine.read("/etc/jsocketd/jsocketd.toml");
    assert_eq!(
        toml,
        sample.replacen("\nroot = \"\" ", "\nroot = \"/var/www/site\" ", 1)
    );
    assert!(text.contains("\n-root = \"\"  # "), "{text}");
    machine.good_setup(&["--remove", "--yes"]);
    assert_same(&machine.state(), &before);
}

#[test]
fn a_server_without_a_known_web_server_gets_the_lines_on_paper() {
    let machine = machine();
    machine.site("/srv/elsewhere", "https://elsewhere.example");
    let before = machine.state();
    let text = machine.good_setup(&["--joomla", "/srv/elsewhere", "--yes"]);
    assert!(
        text.contains("web server         none that serves this folder\n"),
        "{text}"
    );
    assert!(
        text.contains("  for nginx, put in and reload it:\n") && text.contains("  location ^~ /ws/ {\n"),
        "{text}"
    );
    assert!(
        text.contains("  for Apache, put in and reload it:\n") && text.contains("  <Location /ws/>\n"),
        "{text}"
    );
    assert!(machine.has("/etc/jsocketd/jsocketd.toml") && machine.has("/etc/systemd/system/jsocketd.service"));
    assert!(!machine.has("/etc/nginx/snippets/jsocketd.conf"));
    machine.good_setup(&["--remove", "--yes"]);
    assert_same(&machine.state(), &before);
}

/// Their one file is a person's to change, also where nginx serves the site behind them.
#[test]
fn caddy_and_haproxy_get_their_lines_on_paper() {
    let machine = machine();
    let before = machine.state();
    for (name, lines) in [
        ("caddy", "  handle_path /ws/* {\n"),
        ("haproxy", "  use_backend jsocketd if { path_beg /ws/ }\n"),
    ] {
        let text = machine.good_setup(&["--joomla", SITE, "--yes", "--web-server", name]);
        assert!(text.contains(lines), "{text}");
        assert!(
            !text.contains("location ^~ /ws/") && !text.contains("<Location"),
            "{text}"
        );
        machine.good_setup(&["--remove", "--yes"]);
    }
    assert_same(&machine.state(), &before);
}
