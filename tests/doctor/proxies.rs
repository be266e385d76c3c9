//! Faults of what stands in front of the server: the proxy, the certificate, the page. A healthy set-up has no finding.

use std::time::Instant;

use crate::common::ports::{free_port, nobody};
use crate::elsewhere::{Elsewhere, HOST};
use crate::middle::{self, Trick};
use crate::stage::{KEY, LINES, MAP, Plan, Stage, VERSION, Valid, WRONG_NAME, location};
use crate::web_server::{apache, caddy, nginx};

/// What cannot be checked without TLS.
const PLAIN: &[&str] = &["certificate", "https"];
/// What cannot be checked on a port of its own.
const ON_A_PORT: &[&str] = &["https"];

fn over_tls(name: &'static str, valid: Valid) -> Stage {
    let plan = Plan {
        tls: Some((name, valid)),
        ..Plan::default()
    };
    Stage::new(plan, |_| {})
}

#[test]
fn a_healthy_set_up_has_no_finding() {
    let stage = Stage::healthy();
    let report = stage.examine();
    report.expect_healthy(PLAIN);
    let client = &report.of("client address").says;
    assert!(client.contains(&Elsewhere::shared().there.to_string()), "{client}");
}

#[test]
fn a_healthy_set_up_has_no_finding_over_tls() {
    over_tls(HOST, Valid::Long).examine().expect_healthy(ON_A_PORT);
}

#[test]
fn another_machine_checks_the_outer_hops_alone() {
    let stage = over_tls(HOST, Valid::Long);
    let report = stage.examine_with(&[]);
    let checked: Vec<&str> = report
        .findings
        .iter()
        .filter(|finding| finding.verdict == "ok")
        .map(|finding| finding.hop.as_str())
        .collect();
    let outer = [
        "name",
        "certificate",
        "page",
        "package",
        "cookie",
        "upgrade",
        "greeting",
        "clocks",
        "idle",
    ];
    assert_eq!(checked, outer, "{report:#?}");
    let why = &report.of("database").says;
    assert!(why.contains("server's machine"), "{why}");
    assert_eq!(report.code, 0);
}

#[test]
fn people_get_one_line_a_hop_and_the_sum() {
    let stage = Stage::healthy();
    let output = stage.command(&[]).output().expect("the doctor runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("\nok           greeting        the server greets"),
        "{text}"
    );
    assert!(text.contains("0 warnings, 0 faults, "), "{text}");
    // Hops that are not checked for the same reason share their line.
    assert!(
        text.contains("server's machine") && text.contains("\n             also: database, privileges, secret, "),
        "{text}"
    );
}

#[test]
fn a_missing_forwarded_header_is_named_and_its_snippet_mends_it() {
    let mut stage = Stage::healthy();
    stage.serve_with("proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;", "");
    let report = stage.examine();
    let finding = report.without_warnings().expect_faults(
        &["client address"],
        &[
            "nginx",
            "X-Forwarded-For",
            "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
        ],
    );
    // The lines that the doctor prints are the whole remedy.
    let lines = finding
        .snippet
        .replace("127.0.0.1:8080", &stage.server.addr.to_string());
    let (http, socket) = lines.split_once("# Into each server").expect("two parts");
    let socket = format!("# Into each server{socket}");
    stage.serve(http, &socket);
    stage.examine().expect_healthy(PLAIN);
}

#[test]
fn a_forwarded_header_of_the_client_that_is_passed_on_is_named() {
    let mut stage = Stage::healthy();
    stage.serve_with("$proxy_add_x_forwarded_for", "$http_x_forwarded_for");
    stage
        .examine()
        .expect_faults(&["client address"], &["X-Forwarded-For", "$proxy_add_x_forwarded_for"]);
}

#[test]
fn a_wrong_host_and_a_missing_scheme_are_named() {
    let mut stage = over_tls(HOST, Valid::Long);
    stage.serve_with("proxy_set_header X-Forwarded-Proto $scheme;", "");
    let report = stage.examine();
    assert_eq!(report.of("origin").verdict, "warning", "{report:#?}");
    assert!(
        report.of("origin").mend.contains("X-Forwarded-Proto $scheme"),
        "{report:#?}"
    );
    let lines = LINES.replace("Host $http_host", "Host 10.0.0.5");
    stage.serve(MAP, &location(stage.server.addr, &lines));
    let report = stage.examine();
    report.expect_faults(&["origin"], &["10.0.0.5", "proxy_set_header Host $http_host;"]);
}

#[test]
fn a_proxy_that_the_server_does_not_know_is_named() {
    let plan = Plan {
        toml: "[server]\ntrusted_proxies = [\"192.0.2.1\"]\n".to_owned(),
        ..Plan::default()
    };
    let stage = Stage::new(plan, |_| {});
    let report = stage.examine();
    let finding = report.of("client address");
    assert_eq!(finding.verdict, "fault", "{report:#?}");
    assert_eq!(
        finding.snippet,
        "trusted_proxies = [\"127.0.0.1\", \"::1\", \"127.0.0.1\"]"
    );
}

#[test]
fn an_idle_time_out_of_five_seconds_is_named() {
    let plan = Plan {
        toml: "[limits]\nping_interval = 50\n".to_owned(),
        ..Plan::default()
    };
    let mut stage = Stage::new(plan, |_| {});
    stage.serve_with("proxy_read_timeout 300s", "proxy_read_timeout 5s");
    let report = stage.examine();
    let finding = report.expect_faults(
        &["idle"],
        &[
            "nginx cuts a silent connection",
            "ping_interval",
            "proxy_read_timeout 300s",
        ],
    );
    let says = &finding.says;
    assert!(
        ["after 4.9", "after 5.", "after 6."]
            .iter()
            .any(|when| says.contains(when)),
        "{says}"
    );
}

#[test]
fn a_wait_that_is_too_short_to_see_a_ping_is_said() {
    let plan = Plan {
        toml: "[limits]\nping_interval = 50\n".to_owned(),
        ..Plan::default()
    };
    let stage = Stage::new(plan, |_| {});
    let root = stage.joomla.root().display().to_string();
    let report = stage.examine_with(&["--joomla", &root, "--idle", "1"]);
    assert_eq!(report.of("idle").verdict, "warning", "{report:#?}");
    assert!(report.of("idle").mend.contains("--idle 130"), "{report:#?}");
    assert_eq!(report.code, 0);
}

#[test]
fn a_proxy_that_speaks_http_1_0_is_named() {
    let mut stage = Stage::healthy();
    stage.serve_with("proxy_http_version 1.1;", "");
    let report = stage.examine();
    report.expect_faults(&["upgrade"], &["nginx speaks HTTP/1.0", "proxy_http_version 1.1;"]);
    // What does not depend on the socket is checked all the same.
    for hop in [
        "page",
        "cookie",
        "database",
        "privileges",
        "session",
        "outbox",
        "clocks",
        "versions",
    ] {
        assert_eq!(report.of(hop).verdict, "ok", "{report:#?}");
    }
}

#[test]
fn a_proxy_that_drops_the_upgrade_is_named() {
    let mut stage = Stage::healthy();
    let lines = LINES.replace("proxy_set_header Upgrade $http_upgrade;", "");
    stage.serve(
        MAP,
        &location(stage.server.addr, &lines.replace("$jsocketd_connection", "\"\"")),
    );
    stage.examine().expect_faults(
        &["upgrade"],
        &[
            "nginx passes the request on without its Upgrade header",
            "proxy_set_header Upgrade $http_upgrade;",
        ],
    );
}

#[test]
fn an_apache_that_drops_the_upgrade_is_named_and_its_snippet_mends_it() {
    let mut stage = Stage::healthy();
    let at = stage.without_nginx();
    let site = stage.site.addr;
    let server = stage.server.addr;
    let lines = format!("<Location /ws/>\nProxyPass http://{server}/\n</Location>");
    let before = apache(at, site, &lines);
    let report = stage.examine();
    let finding = report.expect_faults(
        &["upgrade"],
        &["Apache passes the request on without", "upgrade=websocket"],
    );
    drop(before);
    let _after = apache(
        at,
        site,
        &finding.snippet.replace("127.0.0.1:8080", &server.to_string()),
    );
    // Apache's workers are few.
    let report = stage.examine();
    let warning = report.expect_warning("upgrade");
    assert!(
        warning.says.contains("MaxRequestWorkers") && warning.mend.contains("max_connections"),
        "{warning:#?}"
    );
}

#[test]
fn a_caddy_that_does_not_pass_the_path_on_is_named_and_its_snippet_mends_it() {
    let mut stage = Stage::healthy();
    let at = stage.without_nginx();
    let (site, server) = (stage.site.addr, stage.server.addr);
    let before = caddy(at, site, "");
    let report = stage.examine();
    let finding = report.expect_faults(&["upgrade"], &["the site itself answers", "handle_path /ws/*"]);
    drop(before);
    let lines = finding.snippet.replace("127.0.0.1:8080", &server.to_string());
    let _after = caddy(at, site, &lines);
    stage.examine().expect_healthy(PLAIN);
}

#[test]
fn a_path_that_is_not_passed_on_is_named() {
    let mut stage = Stage::healthy();
    stage.serve(MAP, "");
    stage
        .examine()
        .expect_faults(&["upgrade"], &["the site itself answers", "location ^~ /ws/"]);
    let kept = location(stage.server.addr, LINES)
        .replace("/;\nproxy", ";\nproxy")
        .replacen("/;", ";", 1);
    stage.serve(MAP, &kept);
    stage
        .examine()
        .expect_faults(&["upgrade"], &["/ws/app/", "path = \"/ws\""]);
}

#[test]
fn a_server_that_does_not_run_is_named() {
    let mut stage = Stage::healthy();
    let nobody = nobody();
    stage.serve(MAP, &location(nobody, LINES));
    stage
        .examine()
        .expect_faults(&["upgrade"], &["502", "systemctl start jsocketd"]);
}

#[test]
fn a_blocked_upgrade_is_named() {
    let mut stage = Stage::healthy();
    let at = stage.without_nginx();
    middle::start(at, stage.site.addr, stage.server.addr, Trick::Block);
    stage
        .examine()
        .expect_faults(&["upgrade"], &["blocks the upgrade", "firewalls"]);
}

#[test]
fn a_cached_101_is_named() {
    let mut stage = Stage::healthy();
    let at = stage.without_nginx();
    middle::start(at, stage.site.addr, stage.server.addr, Trick::Cache);
    let words = ["a cache answers the handshake", "exempt /ws/", "return (pipe)"];
    // First the cache has the answer to the doctor's own first handshake, then that to somebody else's.
    for _ in 0..2 {
        stage.examine().expect_faults(&["upgrade"], &words);
    }
}

#[test]
fn an_expired_certificate_is_named_and_hides_nothing() {
    let report = over_tls(HOST, Valid::Expired).examine();
    report.expect_faults(&["certificate"], &["expired on 2020-03-01", "certbot renew"]);
    assert_eq!(report.of("delivery").verdict, "ok", "{report:#?}");
}

#[test]
fn a_certificate_that_expires_soon_is_a_warning() {
    let report = over_tls(HOST, Valid::Short).examine();
    let finding = report.of("certificate");
    assert_eq!(finding.verdict, "warning", "{report:?}");
    assert!(
        finding.says.contains("in 14 days") && finding.mend.contains("certbot renew"),
        "{finding:?}"
    );
    assert_eq!(report.code, 0);
}

#[test]
fn a_page_of_http_leads_to_https_and_the_doctor_follows() {
    let stage = over_tls(HOST, Valid::Long);
    let here = Elsewhere::shared().here;
    let plain = free_port(here);
    let _plain = nginx((here, plain), None, "", &format!("return 301 {}; ", stage.url()));
    let root = stage.joomla.root().display().to_string();
    let report = stage.examine_at(&format!("http://{HOST}:{plain}/"), &["--joomla", &root]);
    report.expect_healthy(&[]);
}

#[test]
fn a_certificate_for_another_name_is_named() {
    let report = over_tls(WRONG_NAME, Valid::Long).examine();
    report.expect_faults(&["certificate"], &[HOST, WRONG_NAME]);
    let stage = over_tls(HOST, Valid::Long);
    let output = stage.command(&[]).output().expect("the doctor runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("no authority that is trusted"), "{text}");
}

#[test]
fn a_wrong_cookie_path_is_named() {
    let stage = Stage::healthy();
    let cookie = stage.joomla.cookie(&stage.session);
    stage
        .site
        .change(|manner| manner.cookie = format!("{cookie}; path=/shop; HttpOnly"));
    let report = stage.examine();
    report.expect_faults(&["cookie"], &["its Path is /shop", "$cookie_path"]);
    assert_eq!(report.of("identity").verdict, "not_checked", "{report:#?}");
}

#[test]
fn a_missing_package_is_named() {
    let stage = Stage::healthy();
    stage.site.change(|manner| manner.package = None);
    stage
        .joomla
        .sql("DELETE FROM #__extensions WHERE element = 'com_websockets'");
    let report = stage.examine();
    let zip = format!("pkg_websockets-{VERSION}.zip");
    report.expect_faults(&["package", "versions"], &["not installed", &zip]);
}

#[test]
fn an_older_package_is_named() {
    let stage = Stage::healthy();
    stage.site.change(|manner| manner.package = Some("0.1.0".to_owned()));
    stage
        .joomla
        .sql("UPDATE #__extensions SET manifest_cache = '{\"version\":\"0.1.0\"}' WHERE element = 'com_websockets'");
    let report = stage.examine();
    let zip = format!("pkg_websockets-{VERSION}.zip");
    report.expect_faults(&["package", "versions"], &["0.1.0", "the package is older", &zip]);
}

#[test]
fn a_page_that_does_not_load_the_script_needs_another_source_of_the_address() {
    let stage = Stage::healthy();
    stage.site.change(|manner| manner.loads = false);
    stage.examine().expect_healthy(PLAIN);
    let report = stage.examine_with(&[]);
    assert_eq!(report.of("upgrade").verdict, "not_checked", "{report:#?}");
    assert!(report.of("upgrade").says.contains("--socket"), "{report:#?}");
    let socket = format!("ws://{HOST}:{}/ws", stage.port);
    let report = stage.examine_with(&["--socket", &socket, "--key", KEY]);
    assert_eq!(report.of("greeting").verdict, "ok", "{report:#?}");
    let report = stage.examine_with(&["--socket", &socket, "--key", "wrong"]);
    report.expect_faults(&["greeting"], &["4001", "wrong", "[[apps]]"]);
}

#[test]
fn an_offline_site_is_named() {
    let stage = Stage::new(Plan::default(), |joomla| joomla.configure("offline", "true"));
    stage.site.change(|manner| {
        manner.status = 503;
        manner.loads = false;
    });
    let report = stage.examine();
    report.expect_faults(
        &["page", "greeting"],
        &["offline", "Site Offline: No", "$offline = false"],
    );
}

#[test]
fn a_socket_without_tls_on_a_page_with_it_is_named() {
    let stage = over_tls(HOST, Valid::Long);
    let plain = format!("ws://{HOST}:{}/ws", stage.port);
    stage.site.change(|manner| manner.socket.0 = plain.clone());
    let began = Instant::now();
    stage
        .examine()
        .expect_faults(&["upgrade"], &["browsers refuse", "Address for Browsers: wss://"]);
    assert!(began.elapsed().as_secs() < 30, "there is nothing to wait for");
}
