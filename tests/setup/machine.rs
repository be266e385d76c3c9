//! A root folder to try `setup` in: this machine's programs, a copy of what its packages have put into /etc/nginx and
//! /etc/apache2, a few accounts, and a Joomla site. The mounts are in a namespace of their own for each command, so
//! nothing is left of them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// Mounts what is shared with this machine, and runs a program in the root folder.
const ENTER: &str = r#"set -e
root=$1; shift
# In a root folder that is no mount point this fails, and is not needed if nothing is shared.
mount --make-rprivate / 2>/dev/null || ! grep -q shared: /proc/self/mountinfo
mount --rbind /usr "$root/usr"
mount --bind -o ro /usr "$root/usr" && mount -o remount,bind,ro "$root/usr"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
exec chroot "$root" "$@"
"#;

/// The program in the root folder.
pub const JSOCKETD: &str = "/opt/jsocketd/jsocketd";

/// The site of most tests.
pub const SITE: &str = "/var/www/site";

/// What [`Machine::handshake`] runs. The processes end with the namespace. A reload takes a moment, so the client tries
/// until it has an answer of jsocketd.
const HANDSHAKE: &str = r#"
ip link set lo up
START
PROGRAM setup --joomla /var/www/site --yes
RELOAD
PROGRAM serve >/tmp/log 2>&1 &
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
    answer=$(curl -skiN --http1.1 --max-time 1 --resolve www.example.org:443:127.0.0.1 \
        -H "Connection: Upgrade" -H "Upgrade: websocket" -H "Sec-WebSocket-Version: 13" \
        -H "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==" https://www.example.org/ws/app/joomla | tr -d '\000')
    case $answer in *connection_established*) break ;; esac
    sleep 0.3
done
echo "ANSWER: $answer"
cat /tmp/log
"#;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n\
    jsocketd:x:990:990::/nonexistent:/usr/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nadm:x:4:\nwww-data:x:33:\njsocketd:x:990:\n";

/// A root folder.
pub struct Machine {
    folder: TempDir,
}

/// What a command has said.
#[derive(Debug)]
pub struct Said {
    /// Whether it exited with 0.
    pub is_good: bool,
    /// Standard output and standard error.
    pub text: String,
}

impl Machine {
    /// Makes one, with a site in [`SITE`] whose configuration.php everybody may read.
    pub fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests are for root: they change the root folder"
        );
        let machine = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        fs::set_permissions(machine.folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        for folder in [
            "dev",
            "proc",
            "usr",
            "etc/systemd/system",
            "run/lock",
            "tmp",
            "opt/jsocketd",
            "var/log/nginx",
            "var/log/apache2",
            "var/lib/nginx",
            "var/cache",
            "var/www",
        ] {
            fs::create_dir_all(machine.path(folder)).expect("a folder");
        }
        for name in ["bin", "sbin", "lib", "lib64"] {
            symlink(Path::new("usr").join(name), machine.path(name)).expect("a link");
        }
        symlink("/run/lock", machine.path("var/lock")).expect("a link");
        symlink("/run", machine.path("var/run")).expect("a link");
        for name in ["alternatives", "apache2", "nginx", "ld.so.cache", "mime.types"] {
            let from = Path::new("/etc").join(name);
            assert!(
                from.exists(),
                "there is no {}: scripts/test installs what this test needs",
                from.display()
            );
            let copied = Command::new("cp").arg("-a").arg(from).arg(machine.path("etc")).status();
            assert!(copied.expect("cp").success());
        }
        // The machine's own sites are not those of the test.
        for folder in [
            "etc/nginx/sites-enabled",
            "etc/nginx/conf.d",
            "etc/apache2/sites-enabled",
        ] {
            for entry in fs::read_dir(machine.path(folder)).expect("a folder of the package") {
                fs::remove_file(entry.expect("an entry").path()).expect("it can be removed");
            }
        }
        for name in ["proxy.load", "proxy.conf", "proxy_http.load", "headers.load"] {
            let _ = fs::remove_file(machine.path("etc/apache2/mods-enabled").join(name));
        }
        machine.write("/etc/passwd", PASSWD);
        machine.write("/etc/group", GROUP);
        machine.write("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n");
        machine.write("/etc/hosts", "127.0.0.1 localhost\n");
        fs::copy(env!("CARGO_BIN_EXE_jsocketd"), machine.path(JSOCKETD)).expect("the binary");
        machine.site(SITE, "https://www.example.org");
        machine
    }

    /// Where a path of the machine is.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.folder.path().join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Writes a file of the machine, and the folders above it.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a file")).expect("its folder");
        fs::write(path, text).expect("it is written");
    }

    /// The text of a file of the machine.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
    }

    /// Whether something stands there.
    pub fn has(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    /// Writes a Joomla site.
    pub fn site(&self, folder: &str, live_site: &str) {
        let text = format!(
            "<?php\nclass JConfig {{\n\tpublic $dbtype = 'mysqli';\n\tpublic $host = '127.0.0.1:9';\n\tpublic $user = 'joomla';\n\
             \tpublic $password = 'secret of the database';\n\tpublic $db = 'joomla';\n\tpublic $dbprefix = 'j_';\n\
             \tpublic $secret = 'the secret of the site';\n\tpublic $live_site = '{live_site}';\n\
             \tpublic $session_handler = 'database';\n}}\n"
        );
        self.write(&format!("{folder}/configuration.php"), &text);
        chown(self.path(folder).join("configuration.php"), Some(33), Some(33)).expect("for www-data");
    }

    /// Writes a site of nginx and switches it on.
    pub fn nginx_site(&self, name: &str, text: &str) {
        self.write(&format!("/etc/nginx/sites-available/{name}"), text);
        let link = self.path(format!("/etc/nginx/sites-enabled/{name}"));
        symlink(format!("/etc/nginx/sites-available/{name}"), link).expect("a link");
    }

    /// Writes a site of Apache and switches it on.
    pub fn apache_site(&self, name: &str, text: &str) {
        self.write(&format!("/etc/apache2/sites-available/{name}.conf"), text);
        let link = self.path(format!("/etc/apache2/sites-enabled/{name}.conf"));
        symlink(format!("../sites-available/{name}.conf"), link).expect("a link");
    }

    /// A certificate for itself in /etc/ssl/site.pem, with its key.
    pub fn certificate(&self) {
        let file = self.path("/etc/ssl/site.pem");
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "1",
            ])
            .args(["-subj", "/CN=www.example.org", "-keyout"])
            .arg(&file)
            .arg("-out")
            .arg(file.with_extension("crt"))
            .output()
            .expect("openssl");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    /// Runs a program in it, without a terminal.
    pub fn run(&self, command: &[&str]) -> Said {
        let output = self.command(command).output().expect("unshare");
        Said::of(&output)
    }

    /// The command that runs a program in it, in namespaces for mounts and the network.
    pub fn command(&self, command: &[&str]) -> Command {
        let mut all = Command::new("unshare");
        all.args([
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--net",
            "--propagation",
            "unchanged",
            "sh",
            "-c",
            ENTER,
            "enter",
        ])
        .arg(self.folder.path())
        .args(command)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(std::process::Stdio::null());
        all
    }

    /// Runs `jsocketd setup`.
    pub fn setup(&self, flags: &[&str]) -> Said {
        self.run(&[&[JSOCKETD, "setup"], flags].concat())
    }

    /// Runs `jsocketd setup`, which must succeed.
    pub fn good_setup(&self, flags: &[&str]) -> String {
        let said = self.setup(flags);
        assert!(said.is_good, "{}", said.text);
        said.text
    }

    /// Runs `jsocketd setup`, which must fail.
    pub fn bad_setup(&self, flags: &[&str]) -> String {
        let said = self.setup(flags);
        assert!(!said.is_good, "{}", said.text);
        said.text
    }

    /// Starts the web server, sets the site up, reloads the web server, starts jsocketd, and opens a WebSocket at the
    /// public address: the server greets, and finds nothing odd in the proxy.
    pub fn expect_websocket(&self, start: &str, reload: &str) {
        let script = HANDSHAKE
            .replace("START", start)
            .replace("RELOAD", reload)
            .replace("PROGRAM", JSOCKETD);
        let said = self.run(&["sh", "-c", &script]).text;
        let (_, answer) = said.split_once("ANSWER: ").unwrap_or_else(|| panic!("{said}"));
        assert!(
            answer.starts_with("HTTP/1.1 101 ") && answer.contains("pusher:connection_established"),
            "{said}"
        );
        assert!(!said.contains("sent no X-Forwarded-For"), "{said}");
    }

    /// Everything below /etc, /var/www and /var/lib, each path with its mode, owner and contents.
    pub fn state(&self) -> BTreeMap<PathBuf, String> {
        self.look(|_| String::new())
    }

    /// The same with the time of the last change of each file.
    pub fn state_with_times(&self) -> BTreeMap<PathBuf, String> {
        self.look(|found| match found.is_file() {
            true => format!(" {}.{}", found.mtime(), found.mtime_nsec()),
            false => String::new(),
        })
    }

    fn look(&self, more: impl Fn(&fs::Metadata) -> String) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        let mut left: Vec<PathBuf> = ["etc", "var/www", "var/lib"].map(|name| self.path(name)).into();
        while let Some(path) = left.pop() {
            let about = path.symlink_metadata().expect("it is there");
            let what = if about.is_dir() {
                left.extend(
                    fs::read_dir(&path)
                        .expect("a folder")
                        .map(|entry| entry.expect("an entry").path()),
                );
                "folder".to_owned()
            } else if about.is_symlink() {
                format!("-> {}", path.read_link().expect("a link").display())
            } else {
                String::from_utf8_lossy(&fs::read(&path).expect("a file")).into_owned()
            };
            let name = path.strip_prefix(self.folder.path()).expect("it is below").to_owned();
            // nginx -t makes its folders for temporary files there.
            if !name.starts_with("var/lib/nginx") {
                let what = format!(
                    "{:o} {}:{}{} {what}",
                    about.mode(),
                    about.uid(),
                    about.gid(),
                    more(&about)
                );
                found.insert(name, what);
            }
        }
        found
    }
}

impl Said {
    pub fn of(output: &Output) -> Self {
        let text = [&output.stdout[..], &output.stderr[..]].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        Self {
            is_good: output.status.success(),
            text: text.concat(),
        }
    }
}

/// Fails with the paths that differ.
pub fn assert_same(now: &BTreeMap<PathBuf, String>, before: &BTreeMap<PathBuf, String>) {
    let differs = |path: &&PathBuf| now.get(*path) != before.get(*path);
    let paths: Vec<&PathBuf> = now.keys().chain(before.keys()).filter(differs).collect();
    let shown: Vec<_> = paths
        .iter()
        .map(|path| (path, before.get(*path), now.get(*path)))
        .collect();
    assert!(shown.is_empty(), "path, before, now: {shown:#?}");
}
