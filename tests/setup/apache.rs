//! A site behind Apache: it is set up, set up again, and taken away.

use std::os::unix::fs::symlink;

use crate::machine::{Machine, SITE, assert_same};

const SITE_TEXT: &str = "Define DOC /var/www
<VirtualHost *:80>
	# the site <VirtualHost>
	ServerName www.example.org
	DocumentRoot \"${DOC}/site\"
	<Directory /var/www/site>
		AllowOverride All
	</Directory>
</VirtualHost>
<IfModule mod_ssl.c>
<VirtualHost \\
    *:443>

  ServerName www.example.org
  ServerAlias example.org
  SSLEngine on
  SSLCertificateFile /etc/ssl/site.crt
  SSLCertificateKeyFile /etc/ssl/site.pem
  DocumentRoot /var/www/site
</VirtualHost>
</IfModule>
<VirtualHost *:80>
	ServerName other.example
	DocumentRoot /var/www/other
</VirtualHost>";

pub fn machine() -> Machine {
    let machine = Machine::new();
    machine.certificate();
    machine.apache_site("site", SITE_TEXT);
    let enabled = machine.path("/etc/apache2/mods-enabled");
    for file in ["ssl.load", "ssl.conf", "socache_shmcb.load"] {
        if !machine.has(&format!("/etc/apache2/mods-enabled/{file}")) {
            symlink(format!("../mods-available/{file}"), enabled.join(file)).expect("a link");
        }
    }
    machine
}

#[test]
fn a_site_is_set_up_once_and_taken_away_without_a_trace() {
    let machine = machine();
    let before = machine.state();
    let text = machine.good_setup(&["--joomla", SITE, "--yes"]);
    for words in [
        "web server         Apache 2.4.",
        " with mpm_event\n",
        "www.example.org in /etc/apache2/sites-available/site.conf\n",
        "www.example.org in /etc/apache2/sites-available/site.conf, with TLS\n",
        "note: each open page takes one of Apache's 150 workers (MaxRequestWorkers of mpm_event)",
        "+ link /etc/apache2/mods-enabled/proxy.load -> ../mods-available/proxy.load\n",
        "+++ /etc/apache2/conf-available/jsocketd.conf\n",
        "Apache accepts its configuration.\n",
        "  systemctl reload apache2\n",
    ] {
        assert!(text.contains(words), "{words}\nis missing in:\n{text}");
    }
    let file = machine.read("/etc/apache2/sites-available/site.conf");
    let line = "Include /etc/apache2/conf-available/jsocketd.conf\n";
    assert!(
        file.contains(&format!("<VirtualHost *:80>\n\t{line}\t# the site")),
        "{file}"
    );
    assert!(file.contains(&format!("    *:443>\n  {line}\n  ServerName")), "{file}");
    assert_eq!(
        file.replace(&format!("\t{line}"), "").replace(&format!("  {line}"), ""),
        SITE_TEXT
    );
    let loaded = machine.run(&["apache2ctl", "-t", "-D", "DUMP_MODULES"]).text;
    for module in ["proxy_module", "proxy_http_module", "headers_module"] {
        assert!(loaded.contains(module), "{module}: {loaded}");
    }

    let set_up = machine.state_with_times();
    let text = machine.good_setup(&["--joomla", SITE, "--yes"]);
    assert!(
        text.contains("Everything is in its place already: nothing was written.\n"),
        "{text}"
    );
    assert_same(&machine.state_with_times(), &set_up);
    machine.good_setup(&["--remove", "--yes"]);
    assert_same(&machine.state(), &before);
}

#[test]
fn a_websocket_goes_through_apache() {
    machine().expect_websocket("apache2ctl start", "apache2ctl graceful");
}

#[test]
fn prefork_is_warned_of_in_numbers() {
    let machine = machine();
    let enabled = machine.path("/etc/apache2/mods-enabled");
    for end in ["load", "conf"] {
        std::fs::remove_file(enabled.join(format!("mpm_event.{end}"))).expect("Debian's default");
        symlink(
            format!("../mods-available/mpm_prefork.{end}"),
            enabled.join(format!("mpm_prefork.{end}")),
        )
        .expect("a link");
    }
    let text = machine.good_setup(&["--joomla", SITE, "--dry-run"]);
    assert!(text.contains(" with mpm_prefork\n"), "{text}");
    assert!(text.contains("one of its 150 processes (MaxRequestWorkers)"), "{text}");
    assert!(text.contains("150 open pages stop the whole site"), "{text}");
}

#[test]
fn a_module_that_is_switched_on_already_stays_on() {
    let machine = machine();
    let link = machine.path("/etc/apache2/mods-enabled/headers.load");
    symlink("../mods-available/headers.load", link).expect("a link");
    let before = machine.state();
    let text = machine.good_setup(&["--joomla", SITE, "--yes"]);
    assert!(
        !text.contains("headers.load") && text.contains("proxy_http.load"),
        "{text}"
    );
    machine.good_setup(&["--remove", "--yes"]);
    assert_same(&machine.state(), &before);
}

#[test]
fn where_both_serve_the_site_nginx_is_in_front_unless_it_is_said() {
    let machine = machine();
    machine.nginx_site(
        "site",
        "server { listen 8080; server_name www.example.org; location / { proxy_pass http://127.0.0.1:80; } }",
    );
    let text = machine.good_setup(&["--joomla", SITE, "--dry-run"]);
    assert!(
        text.contains("/etc/nginx/snippets/jsocketd.conf") && !text.contains("/etc/apache2/conf-available"),
        "{text}"
    );
    let text = machine.good_setup(&["--joomla", SITE, "--dry-run", "--web-server", "apache"]);
    assert!(
        !text.contains("/etc/nginx/") && text.contains("/etc/apache2/conf-available/jsocketd.conf"),
        "{text}"
    );
}
