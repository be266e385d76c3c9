//! What can go wrong: nothing is written then, or everything is put back, or the next run completes it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::machine::{JSOCKETD, Machine, SITE, assert_same};

const SITE_TEXT: &str = "server {\n    listen 80;\n    server_name www.example.org;\n    root /var/www/site;\n}\n";

fn machine() -> Machine {
    let machine = Machine::new();
    machine.nginx_site("site", SITE_TEXT);
    machine
}

#[test]
fn nothing_is_written_without_a_yes() {
    let machine = machine();
    let before = machine.state_with_times();
    let text = machine.good_setup(&["--joomla", SITE, "--dry-run"]);
    assert!(text.contains("+++ /etc/jsocketd/jsocketd.toml\n"), "{text}");
    assert!(text.ends_with("Nothing was written (--dry-run).\n"), "{text}");
    let why = machine.bad_setup(&["--joomla", SITE]);
    assert!(why.contains("there is no terminal to ask at. Add --yes"), "{why}");
    assert_same(&machine.state_with_times(), &before);
}

#[test]
fn a_terminal_is_asked() {
    let machine = machine();
    let before = machine.state();
    let command = format!("{JSOCKETD} setup --joomla {SITE}");
    let ask = |answer: &str| {
        let typed = format!("printf '{answer}\\n' | script -qec '{command}' /dev/null");
        machine.run(&["sh", "-c", &typed])
    };
    let said = ask("no");
    assert!(
        said.text.contains("Write these changes? [y/N]") && said.text.contains("nothing was written"),
        "{}",
        said.text
    );
    assert!(!said.is_good);
    assert_same(&machine.state(), &before);
    let said = ask("y");
    assert!(
        said.is_good && said.text.contains("nginx accepts its configuration"),
        "{}",
        said.text
    );
    assert!(machine.has("/etc/nginx/snippets/jsocketd.conf"));
}

#[test]
fn what_the_web_server_refuses_is_put_back() {
    let machine = machine();
    let text = "server {\n\troot /var/www/site;\n\tlocation ^~ /ws/ { return 204; }\n}\n";
    machine.nginx_site("double", text);
    let before = machine.state_with_times();
    let why = machine.bad_setup(&["--joomla", SITE, "--yes"]);
    for words in [
        "nginx refuses its configuration with these changes, so every file is again as it was before. It says:",
        "duplicate location \"/ws/\" in /etc/nginx/sites-enabled/double:",
    ] {
        assert!(why.contains(words), "{words}: {why}");
    }
    assert_same(&machine.state_with_times(), &before);
}

#[test]
fn a_removal_that_the_web_server_refuses_is_put_back() {
    let machine = machine();
    machine.good_setup(&["--joomla", SITE, "--yes"]);
    machine.nginx_site(
        "more",
        "server { listen 81; location /x { proxy_pass http://jsocketd/; set $a $jsocketd_connection; } }\n",
    );
    let before = machine.state_with_times();
    let why = machine.bad_setup(&["--remove", "--yes"]);
    assert!(
        why.contains("so every file is again as it was before") && why.contains("jsocketd"),
        "{why}"
    );
    assert_same(&machine.state_with_times(), &before);
}

#[test]
fn a_web_server_that_is_broken_already_is_left_alone() {
    let machine = machine();
    machine.nginx_site("broken", "server { lisen 80; }\n");
    let before = machine.state_with_times();
    let why = machine.bad_setup(&["--joomla", SITE, "--yes"]);
    assert!(
        why.contains("nginx refuses its configuration as it is now:") && why.contains("\"lisen\""),
        "{why}"
    );
    assert_same(&machine.state_with_times(), &before);
}

/// The kernel kills the program at its renames, and at what it removes, each in turn.
#[test]
fn a_run_that_is_killed_can_be_run_again_or_removed() {
    let machine = crate::apache::machine();
    let before = machine.state();
    let add = ["--joomla", SITE, "--yes"];
    machine.good_setup(&add);
    let after = machine.state();
    machine.good_setup(&["--remove", "--yes"]);
    assert_same(&machine.state(), &before);
    let killed = |calls: &str, number: u32, flags: &[&str]| {
        let (trace, inject) = (
            format!("trace={calls}"),
            format!("inject={calls}:signal=SIGKILL:when={number}"),
        );
        let strace = ["strace", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
        !machine
            .run(&[&strace[..], &[JSOCKETD, "setup"], flags].concat())
            .is_good
    };
    let renames = "?rename,?renameat,?renameat2";
    let kills = (1..).take_while(|number| {
        let is_killed = killed(renames, *number, &add);
        if is_killed {
            machine.good_setup(&["--remove", "--yes"]);
            assert_same(&machine.state(), &before);
            assert!(killed(renames, *number, &add));
        }
        machine.good_setup(&add);
        assert_same(&machine.state(), &after);
        machine.good_setup(&["--remove", "--yes"]);
        assert_same(&machine.state(), &before);
        is_killed
    });
    assert!(kills.count() >= 8);

    let all = "?rename,?renameat,?renameat2,?unlink,?unlinkat,?rmdir";
    let kills = (1..).take_while(|number| {
        machine.good_setup(&add);
        let is_killed = killed(all, *number, &["--remove", "--yes"]);
        if is_killed {
            machine.good_setup(&["--remove", "--yes"]);
        }
        assert_same(&machine.state(), &before);
        is_killed
    });
    assert!(kills.count() >= 15);
}

#[test]
fn what_the_administrator_has_added_since_stays() {
    let machine = machine();
    machine.good_setup(&["--joomla", SITE, "--yes"]);
    let own = machine.read("/etc/jsocketd/jsocketd.toml") + "\n[console]\nenabled = false\n";
    machine.write("/etc/jsocketd/jsocketd.toml", &own);
    let line = "include /etc/nginx/snippets/jsocketd.conf;";
    let site = machine.read("/etc/nginx/sites-available/site");
    let edited = site.replace(&format!("    {line}"), &format!("\t\t{line}")) + "server { listen 81; }\n";
    machine.write("/etc/nginx/sites-available/site", &edited);
    let text = machine.good_setup(&["--joomla", SITE, "--yes"]);
    assert!(text.contains("nothing was written"), "{text}");
    let text = machine.good_setup(&["--remove", "--yes"]);
    for words in [
        "/etc/jsocketd/jsocketd.toml stays: it has been changed since `jsocketd setup` made it\n",
        "/etc/jsocketd stays: it has other files\n",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(machine.read("/etc/jsocketd/jsocketd.toml"), own);
    assert_eq!(
        machine.read("/etc/nginx/sites-available/site"),
        SITE_TEXT.to_owned() + "server { listen 81; }\n"
    );
    assert!(!machine.has("/var/lib/jsocketd") && !machine.has("/etc/nginx/snippets/jsocketd.conf"));
}

#[test]
fn files_of_somebody_else_are_not_overwritten() {
    let machine = machine();
    let other = "# by hand\n";
    for (path, put) in [
        ("/etc/nginx/conf.d/jsocketd.conf", false),
        ("/etc/nginx/snippets/jsocketd.conf", true),
    ] {
        match put {
            false => machine.write(path, other),
            true => symlink("/etc/hosts", machine.path(path)).expect("a link"),
        }
        let before = machine.state_with_times();
        let why = machine.bad_setup(&["--joomla", SITE, "--yes"]);
        assert!(why.contains(path), "{why}");
        assert_same(&machine.state_with_times(), &before);
        fs::remove_file(machine.path(path)).expect("it is there");
    }
}

#[test]
fn a_host_in_a_file_elsewhere_is_for_a_person() {
    let machine = machine();
    fs::remove_file(machine.path("/etc/nginx/sites-enabled/site")).expect("a link");
    machine.write("/srv/site.conf", SITE_TEXT);
    symlink("/srv/site.conf", machine.path("/etc/nginx/sites-enabled/site")).expect("a link");
    let line = "include /etc/nginx/snippets/jsocketd.conf;";
    let words = format!(
        "\n  put `{line}` into the host of www.example.org in /srv/site.conf, which is outside of /etc/nginx\n"
    );
    for _ in 0..2 {
        let text = machine.good_setup(&["--joomla", SITE, "--yes"]);
        assert!(text.contains(&words), "{text}");
        assert_eq!(machine.read("/srv/site.conf"), SITE_TEXT);
    }
    machine.write(
        "/srv/site.conf",
        &SITE_TEXT.replace("listen", &format!("{line} listen")),
    );
    let text = machine.good_setup(&["--joomla", SITE, "--yes"]);
    assert!(
        text.contains("nothing was written") && !text.contains("put `"),
        "{text}"
    );
    let before = machine.state_with_times();
    let why = machine.bad_setup(&["--remove", "--yes"]);
    assert!(
        why.contains("/etc/nginx/snippets/jsocketd.conf\" failed") && why.contains("/etc/nginx/sites-enabled/site:2"),
        "{why}"
    );
    assert_same(&machine.state_with_times(), &before);
}

#[test]
fn a_host_that_is_new_gets_its_line_too() {
    let machine = machine();
    let before = machine.state();
    machine.good_setup(&["--joomla", SITE, "--yes"]);
    let more = "server { listen 443; server_name www.example.org; root /var/www/site; }\n";
    machine.write(
        "/etc/nginx/sites-available/site",
        &(machine.read("/etc/nginx/sites-available/site") + more),
    );
    let text = machine.good_setup(&["--joomla", SITE, "--yes"]);
    assert!(
        text.contains("+server { include /etc/nginx/snippets/jsocketd.conf; listen 443;"),
        "{text}"
    );
    machine.good_setup(&["--remove", "--yes"]);
    assert_eq!(
        machine.read("/etc/nginx/sites-available/site"),
        SITE_TEXT.to_owned() + more
    );
    machine.write("/etc/nginx/sites-available/site", SITE_TEXT);
    assert_same(&machine.state(), &before);
}

#[test]
fn the_server_gets_the_group_that_may_read_the_site() {
    let machine = machine();
    let file = machine.path(SITE).join("configuration.php");
    let set = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("it is ours");
    set(0o640);
    let before = machine.state();
    let text = machine.good_setup(&["--joomla", SITE, "--yes"]);
    let drop_in = machine.read("/etc/systemd/system/jsocketd.service.d/site.conf");
    assert!(
        drop_in.ends_with("\n[Service]\nSupplementaryGroups=www-data\n"),
        "{drop_in}"
    );
    assert!(
        text.contains("$ setpriv --reuid=990 --regid=990 --groups=33,990 "),
        "{text}"
    );
    assert!(!text.contains("cannot be read"), "{text}");
    machine.good_setup(&["--remove", "--yes"]);
    assert_same(&machine.state(), &before);
    set(0o600);
    let before = machine.state();
    let why = machine.bad_setup(&["--joomla", SITE, "--yes"]);
    assert!(
        why.contains("setfacl -m u:jsocketd:r /var/www/site/configuration.php"),
        "{why}"
    );
    assert_same(&machine.state(), &before);
}

#[test]
fn what_is_missing_is_named() {
    let machine = machine();
    let passwd = machine.read("/etc/passwd");
    machine.write("/etc/passwd", &passwd.replace("jsocketd:", "somebody:"));
    let before = machine.state_with_times();
    let why = machine.bad_setup(&["--joomla", SITE, "--yes"]);
    assert!(
        why.contains("useradd --system --no-create-home --shell /usr/sbin/nologin jsocketd"),
        "{why}"
    );
    machine.good_setup(&["--joomla", SITE, "--dry-run"]);
    machine.write("/etc/passwd", &passwd);
    for (flags, words) in [
        (
            &["--joomla", "/no/such", "--yes"][..],
            "the folder /no/such: No such file",
        ),
        (&["--joomla", "/etc", "--yes"], "there is no /etc/configuration.php"),
        (&["--yes"], "--joomla"),
        (&["--joomla", SITE, "--url", "ftp://x", "--yes"], "http:// or https://"),
        (&["--remove", "--url", "https://x"], "cannot be used with"),
    ] {
        let why = machine.bad_setup(flags);
        assert!(why.contains(words), "{flags:?}: {why}");
    }
    let after = machine.state();
    assert_eq!(after.len(), before.len());
}

#[test]
fn a_unit_that_is_enabled_is_disabled_first() {
    let machine = machine();
    machine.good_setup(&["--joomla", SITE, "--yes"]);
    let wants = machine.path("/etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants).expect("a folder");
    symlink("/etc/systemd/system/jsocketd.service", wants.join("jsocketd.service")).expect("a link");
    let before = machine.state_with_times();
    let why = machine.bad_setup(&["--remove", "--yes"]);
    assert!(why.contains("systemctl disable --now jsocketd.service"), "{why}");
    assert_same(&machine.state_with_times(), &before);
}

#[test]
fn a_program_in_a_home_folder_is_refused() {
    let machine = machine();
    let of_root = "/root";
    let home = machine.path(of_root);
    fs::create_dir(&home).expect("a folder");
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).expect("it is ours");
    fs::copy(machine.path(JSOCKETD), home.join("jsocketd")).expect("a copy");
    let before = machine.state_with_times();
    let program = format!("{of_root}/jsocketd");
    let said = machine.run(&[&program, "setup", "--joomla", SITE, "--yes"]);
    assert!(!said.is_good, "{}", said.text);
    assert!(
        said.text
            .contains(&format!("install -m 0755 {program} /usr/local/bin/jsocketd")),
        "{}",
        said.text
    );
    assert_same(&machine.state_with_times(), &before);
}

#[test]
fn a_record_that_others_may_write_is_not_believed() {
    let machine = machine();
    machine.good_setup(&["--joomla", SITE, "--yes"]);
    let (folder, file) = (
        machine.path("/var/lib/jsocketd"),
        machine.path("/var/lib/jsocketd/setup.json"),
    );
    let mode =
        |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
    for (path, good, bad) in [(&folder, 0o755, 0o775), (&file, 0o600, 0o602)] {
        mode(path, bad);
        let before = machine.state_with_times();
        for flags in [&["--remove", "--yes"][..], &["--joomla", SITE, "--yes"]] {
            assert!(machine.bad_setup(flags).contains("is not root's own"));
        }
        assert_same(&machine.state_with_times(), &before);
        mode(path, good);
    }
    std::os::unix::fs::chown(&folder, Some(990), None).expect("for root");
    assert!(
        machine
            .bad_setup(&["--remove", "--yes"])
            .contains("/var/lib/jsocketd is not root's own")
    );
}

#[test]
fn only_root_can_write() {
    let machine = machine();
    let said = machine.run(&[
        "setpriv",
        "--reuid=33",
        "--regid=33",
        "--clear-groups",
        JSOCKETD,
        "setup",
        "--joomla",
        SITE,
        "--yes",
    ]);
    assert!(!said.is_good, "{}", said.text);
    assert!(
        said.text.contains("root") || said.text.contains("ermission denied"),
        "{}",
        said.text
    );
}
