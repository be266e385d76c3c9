//! The site's database in the simulated world: several server processes query it, PHP changes it, and it fails in every
//! way in which databases fail. Beside it stands the oracle. From the tables alone, slowly and plainly, it finds each
//! visitor's user and channels. It shares no code with the server.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use data_encoding::BASE64;
use jsocketd::config::ListenAddr;
use jsocketd::joomla::session::form_token;
use jsocketd::protocol::greeting::NoGreeting;
use jsocketd::store::{
    Answer, AssetRow, Extensions, Failure, GroupRow, LevelRow, NewRow, Question, Readiness, SessionId, Store, UserRow,
};
use jsocketd::time::Now;
use serde_json::{Value, json};

use crate::memory::{Category, Durable, Item, Link, Session, Tables, Transaction};
use crate::world::{Dice, Shared};

/// Milliseconds of a tick in which statements may be started.
pub const BUDGET: Duration = Duration::from_millis(10);

/// The longest time of a statement, and the time limit for a silent server.
pub const LONGEST: Duration = Duration::from_millis(100);
pub const READ_TIMEOUT: Duration = Duration::from_millis(500);

/// Statements in a second that have nothing to do with the outbox table: a few dozen visitors cannot need more.
const MOST: u64 = 200;

/// Seconds that a session lives.
pub const LIFETIME: u64 = 900;

pub const USERS: [u32; 4] = [41, 42, 43, 44];
pub const ARTICLES: [u64; 3] = [1, 2, 3];
pub const CATEGORIES: [u64; 3] = [2, 3, 4];
/// The group that moves, and the level whose rules change.
pub const MOVED: u32 = 11;
pub const LEVELS: [u32; 5] = [1, 2, 3, 5, 7];
pub const GROUPS: [u32; 4] = [2, 3, 10, 11];

/// The database and the lines to it.
pub struct Database {
    pub tables: Tables,
    pub dice: Dice,
    /// The network of each process; all have one clock.
    pub worlds: Vec<Shared>,
    pub lines: Vec<Line>,
    /// One in so many statements takes long; 0: none.
    pub slow: usize,
    /// Whether the session table names the user of a session, or the text alone.
    pub metadata: bool,
    /// The user of each session, independent of the table.
    owners: BTreeMap<SessionId, u32>,
    /// The content of a backup.
    backup: Option<Durable>,
    /// Transactions with control rows about a change: other rows may be added before they are committed.
    telling: Vec<Transaction>,
    /// Whether PHP writes a control row for every change that takes something away, or only for some.
    pub tells_all: bool,
    /// Whether to print every statement.
    pub log: bool,
}

/// One process's connection, and the figures by which the process is judged.
pub struct Line {
    pub link: Link,
    /// Which client of the server it is.
    pub client: u32,
    /// The time of this tick's statements.
    spent: Duration,
    /// The second of the latest statement, and how many it had that were not for the outbox table.
    rate: (u64, u64),
    /// Statements since the server went down.
    while_down: u64,
    /// Statements whose result no process could predict.
    pub found_out: u64,
}

pub type Base = Rc<RefCell<Database>>;

impl Database {
    pub fn new(seed: u64) -> Base {
        let mut database = Self {
            tables: Tables::new(1_700_000_000_000),
            dice: Dice::new(seed ^ 0x5157),
            worlds: Vec::new(),
            lines: Vec::new(),
            slow: 0,
            metadata: !seed.is_multiple_of(3),
            owners: BTreeMap::new(),
            backup: None,
            telling: Vec::new(),
            tells_all: seed.is_multiple_of(2),
            log: false,
        };
        database.fill();
        Rc::new(RefCell::new(database))
    }

    /// A new process comes, in place of the one with this number or as another one.
    pub fn line(&mut self, n: usize, client: u32) {
        let line = Line {
            link: Link::new(client),
            client,
            spent: Duration::ZERO,
            rate: (0, 0),
            while_down: 0,
            found_out: 0,
        };
        match self.lines.get_mut(n) {
            Some(old) => *old = line,
            None => self.lines.push(line),
        }
    }

    /// Moves the clock of all processes.
    pub fn pass(&mut self, span: Duration) {
        for world in &self.worlds {
            world.borrow_mut().pass(span);
        }
        self.tables.now = self.worlds[0].borrow().now.unix_ms as i64;
    }

    pub fn seconds(&self) -> i64 {
        self.tables.now / 1000
    }

    /// A tick of a process begins.
    pub fn tick(&mut self, n: usize) {
        self.lines[n].spent = Duration::ZERO;
    }

    /// It does not answer any more. `killed`: it will have forgotten all connections when it is there again. `forgets`:
    /// the last commits too.
    pub fn go_down(&mut self, killed: bool, forgets: bool) {
        if killed {
            self.tables.crash(forgets);
            self.telling.clear();
        }
        self.tables.down = true;
        for line in &mut self.lines {
            line.while_down = 0;
        }
        for world in &self.worlds {
            world.borrow_mut().database = if killed { Answers::Refuses } else { Answers::Silent };
        }
    }

    pub fn come_up(&mut self) {
        self.tables.down = false;
        for world in &self.worlds {
            world.borrow_mut().database = Answers::Greets;
        }
    }

    fn ask(&mut self, n: usize, question: &Question, now: Now) -> Result<Answer, Failure> {
        let line = &mut self.lines[n];
        assert!(
            line.spent < BUDGET,
            "a statement ({}) was started after {:?} of SQL in one tick",
            question.name(),
            line.spent
        );
        assert_eq!(line.link.readiness(now), Readiness::Ready, "asked without a connection");
        if !question.is_about_outbox() {
            line.rate = match line.rate {
                (second, count) if second == now.at.seconds() => (second, count + 1),
                _ => (now.at.seconds(), 1),
            };
            assert!(
                line.rate.1 <= MOST,
                "a storm of statements; this is one for {}",
                question.name()
            );
        }
        let took = if line.link.resting.contains(question.name()) {
            // It does not leave the process.
            Duration::from_micros(1)
        } else if self.tables.down {
            line.while_down += 1;
            assert!(line.while_down <= 1, "the outage was found out about twice");
            READ_TIMEOUT
        } else if self.slow > 0 && self.dice.one_in(self.slow) {
            LONGEST * (1 + self.dice.below(10) as u32) / 10
        } else {
            Duration::from_micros(50 + self.dice.below(300) as u64)
        };
        self.lines[n].spent += took;
        self.pass(took);
        let answer = self.lines[n].link.ask(question, &mut self.tables, now);
        if self.log {
            eprintln!("{n} asks at {}: {question:?} {took:?} {answer:?}", now.at.0);
        }
        if matches!(answer, Err(Failure::Unavailable(_))) {
            self.lines[n].found_out += 1;
        }
        answer
    }

    // --- what PHP does ---------------------------------------------------------------------------------------------

    fn fill(&mut self) {
        let tables = &mut self.tables;
        tables.groups = [(1, 0), (2, 1), (3, 2), (7, 1), (8, 1), (9, 1), (10, 2), (11, 10)]
            .map(|(id, parent)| GroupRow {
                id,
                parent,
                lft: 0,
                rgt: 0,
            })
            .to_vec();
        number(&mut tables.groups);
        tables.levels = [(1, "[1]"), (2, "[2,8]"), (3, "[3,8]"), (5, "[9]"), (7, "[10,-42]")]
            .map(|(id, rules)| LevelRow {
                id,
                rules: rules.into(),
            })
            .to_vec();
        tables.assets = vec![
            AssetRow {
                name: "root.1".into(),
                rules: r#"{"core.admin":{"8":1},"core.manage":{"7":1}}"#.into(),
                lft: 0,
                rgt: 100,
            },
            AssetRow {
                name: "com_content".into(),
                rules: r#"{"core.manage":{"3":1}}"#.into(),
                lft: 1,
                rgt: 2,
            },
        ];
        tables.extensions = Extensions {
            com_users: Some(r#"{"guest_usergroup":"9"}"#.into()),
            com_websockets: None,
            package_version: None,
            joomla_version: Some("5.3.2".into()),
        };
        for id in USERS {
            let user = self.user(id);
            self.tables.users.insert(id, user);
        }
        for id in CATEGORIES {
            self.tables.categories.insert(
                id,
                Category {
                    parent: if id == 4 { 3 } else { 1 },
                    extension: "com_content".into(),
                    access: 1,
                    published: 1,
                },
            );
        }
        for id in ARTICLES {
            self.tables.items[0].insert(
                id,
                Item {
                    access: [1, 2, 7][id as usize % 3],
                    state: 1,
                    publish_up: Some(1_600_000_000),
                    publish_down: None,
                    category: Some(id + 1),
                },
            );
        }
    }

    fn user(&mut self, id: u32) -> UserRow {
        UserRow {
            id,
            name: format!("Name {id}"),
            username: format!("name{id}"),
            blocked: false,
            require_reset: false,
            mfa: false,
            groups: vec![GROUPS[self.dice.below(GROUPS.len())]],
        }
    }

    /// Transactions with control rows that were not committed yet.
    pub fn take_telling(&mut self) -> Vec<Transaction> {
        std::mem::take(&mut self.telling)
    }

    /// Writes a control row, if the dice say so: then the effects of a change must follow at once.
    fn tell(&mut self, event: &str, data: &Value) -> bool {
        if !self.tells_all && self.dice.one_in(2) {
            return false;
        }
        let outbox = &mut self.tables.outbox;
        let transaction = outbox.begin();
        outbox.insert(transaction, control(event, data));
        self.telling.push(transaction);
        true
    }

    /// A user logs in: a new session, and the old one is gone.
    pub fn log_in(&mut self, before: Option<&SessionId>, user: u32) -> SessionId {
        if let Some(before) = before
            && self.tables.sessions.remove(before).is_some()
        {
            let user = self.owners[before];
            self.tell("recheck-user", &json!({"user_id": user}));
        }
        let id = SessionId::parse(&format!("s{:016x}", self.dice.roll())).unwrap();
        let session = Session {
            client_id: self.metadata.then_some(0),
            guest: user == 0 || !self.metadata,
            time: self.seconds(),
            user_id: if self.metadata { user } else { 0 },
            data: Some(text(user, &token_of(&id))),
        };
        self.owners.insert(id.clone(), user);
        self.tables.sessions.insert(id.clone(), session);
        id
    }

    /// Makes one change that affects who may subscribe. Returns whether a control row was written.
    pub fn change(&mut self) -> bool {
        let user = USERS[self.dice.below(USERS.len())];
        match self.dice.below(16) {
            0..2 => {
                // Log-out: all sessions of the user.
                let owners = &self.owners;
                self.tables.sessions.retain(|id, _| owners[id] != user);
                self.tell("recheck-user", &json!({"user_id": user}))
            }
            2 => {
                let blocked = self.dice.one_in(2);
                if let Some(row) = self.tables.users.get_mut(&user) {
                    row.blocked = blocked;
                }
                blocked && self.tell("terminate-user", &json!({"user_id": user}))
            }
            3 => match self.tables.users.remove(&user) {
                Some(_) => self.tell("terminate-user", &json!({"user_id": user})),
                None => {
                    let row = self.user(user);
                    self.tables.users.insert(user, row);
                    false
                }
            },
            4..6 => {
                let mut groups: BTreeSet<u32> = BTreeSet::new();
                for _ in 0..self.dice.below(3) {
                    groups.insert([2, 3, 7, 8, 10, 11][self.dice.below(6)]);
                }
                if let Some(row) = self.tables.users.get_mut(&user) {
                    row.groups = groups.into_iter().collect();
                }
                self.tell("recheck-user", &json!({"user_id": user}))
            }
            6 => {
                let rules = ["[10,-42]", "[3]", "[2,9]", "[-41]", "[]", "[11,9]"][self.dice.below(6)];
                let level = self.tables.levels.iter_mut().find(|level| level.id == 7).unwrap();
                level.rules = rules.into();
                self.tell("recheck-access", &json!({}))
            }
            7 => {
                let parent = [10, 1, 3, 7][self.dice.below(4)];
                let group = self.tables.groups.iter_mut().find(|group| group.id == MOVED).unwrap();
                group.parent = parent;
                number(&mut self.tables.groups);
                self.tell("recheck-access", &json!({}))
            }
            8 => {
                let rules = [
                    r#"{"core.manage":{"3":1}}"#,
                    r#"{"core.manage":{"2":1,"11":0}}"#,
                    "{}",
                    r#"{"core.manage":{"7":0}}"#,
                ][self.dice.below(4)];
                self.tables.assets[1].rules = rules.into();
                self.tell("recheck-access", &json!({}))
            }
            9..13 => self.change_item(),
            13..15 => {
                let id = CATEGORIES[self.dice.below(CATEGORIES.len())];
                let (access, published) = (self.a_level(), self.a_state());
                let category = self.tables.categories.get_mut(&id).unwrap();
                category.access = access;
                category.published = published;
                self.tell("recheck-item", &json!({"type": "com_content.category", "id": id}))
            }
            _ => {
                let now = self.seconds();
                let which = self.dice.below(8);
                let Some((id, session)) = self.tables.sessions.iter_mut().nth(which) else {
                    return false;
                };
                session.time = now - LIFETIME as i64 - 2;
                let user = self.owners[id];
                self.tell("recheck-user", &json!({"user_id": user}))
            }
        }
    }

    fn a_level(&mut self) -> u32 {
        LEVELS[self.dice.below(LEVELS.len())]
    }

    fn a_state(&mut self) -> i8 {
        [1, 1, 1, 2, 0, -2][self.dice.below(6)]
    }

    fn change_item(&mut self) -> bool {
        let id = ARTICLES[self.dice.below(ARTICLES.len())];
        let (access, state) = (self.a_level(), self.a_state());
        let category = CATEGORIES[self.dice.below(CATEGORIES.len())];
        let soon = self.seconds() + self.dice.below(20) as i64;
        let which = self.dice.below(6);
        let item = self.tables.items[0].entry(id).or_insert_with(|| Item {
            access: 1,
            state: 1,
            category: Some(2),
            ..Item::default()
        });
        match which {
            0 => item.access = access,
            1 => item.state = state,
            2 => item.category = Some(category),
            3 => item.publish_down = Some(soon),
            4 => item.publish_up = Some(soon),
            _ if access == 1 => {
                self.tables.items[0].remove(&id);
            }
            _ => (item.publish_up, item.publish_down) = (None, None),
        }
        self.tell("recheck-item", &json!({"type": "com_content.article", "id": id}))
    }

    /// The outbox's tables are copied or damaged: the copy is restored, with or without the server's other files, or
    /// the table is emptied, or the position is lost. Returns whether rows may be lost.
    pub fn back_up_or_restore(&mut self) -> bool {
        let outbox = &mut self.tables.outbox;
        let Some(backup) = self.backup.take() else {
            self.backup = Some(outbox.copy());
            return false;
        };
        if !outbox.is_unlocked() {
            // A change of the tables waits for the transactions on them.
            return false;
        }
        match self.dice.below(4) {
            0 => outbox.restore(backup),
            1 => {
                self.tables.crash(false);
                self.tables.outbox.restore(backup);
            }
            2 => outbox.truncate(),
            _ => drop(outbox.state.remove("position")),
        }
        true
    }

    // --- the oracle ------------------------------------------------------------------------------------------------

    /// The user of a session; 0: a guest.
    pub fn user_of(&self, session: Option<&SessionId>) -> u32 {
        let Some((id, row)) = session.and_then(|id| self.tables.sessions.get_key_value(id)) else {
            return 0;
        };
        let alive = row.time + LIFETIME as i64 >= self.seconds();
        match self.tables.users.get(&self.owners[id]) {
            Some(user) if alive && !user.blocked && !user.require_reset => user.id,
            _ => 0,
        }
    }

    fn groups_of(&self, user: u32) -> BTreeSet<u32> {
        let mapped = match user {
            0 => vec![9],
            _ => self.tables.users[&user].groups.clone(),
        };
        let mut all = BTreeSet::new();
        for mut group in mapped {
            while let Some(row) = self.tables.groups.iter().find(|row| row.id == group) {
                all.insert(group);
                group = row.parent;
            }
        }
        if all.is_empty() {
            all.insert(1);
        }
        all
    }

    fn has_level(&self, user: u32, level: u32) -> bool {
        let groups = self.groups_of(user);
        level == 1
            || self.tables.levels.iter().any(|row| {
                let rules: Vec<i64> = serde_json::from_str(&row.rules).unwrap();
                row.id == level
                    && rules.iter().any(|rule| match *rule {
                        group if group >= 0 => groups.contains(&(group as u32)),
                        person => user > 0 && -person == i64::from(user),
                    })
            })
    }

    fn verdict(&self, user: u32, action: &str, assets: &[&str]) -> bool {
        let mut whose: Vec<String> = self.groups_of(user).iter().map(u32::to_string).collect();
        whose.push(format!("-{user}"));
        let mut said = BTreeMap::new();
        for asset in self.tables.assets.iter().filter(|row| assets.contains(&&*row.name)) {
            let rules: Value = serde_json::from_str(&asset.rules).unwrap();
            for who in &whose {
                if let Some(allow) = rules[action][who].as_u64() {
                    let merged = said.entry(who.clone()).or_insert(allow);
                    *merged = (*merged).min(allow);
                }
            }
        }
        !said.is_empty() && said.values().all(|allow| *allow == 1)
    }

    fn manages(&self, user: u32) -> bool {
        user > 0 && self.verdict(user, "core.admin", &["root.1"])
            || self.verdict(user, "core.manage", &["root.1", "com_content"])
    }

    /// Joomla's page of a category: it and all above it are published, and not archived, and may be seen.
    fn sees_category(&self, user: u32, id: u64) -> bool {
        self.chain(id).is_some_and(|chain| {
            let shown = |one: &&Category| one.published == 1 && self.has_level(user, one.access);
            chain.iter().all(shown)
        })
    }

    /// A category and all above it.
    fn chain(&self, id: u64) -> Option<Vec<&Category>> {
        let category = self.tables.categories.get(&id)?;
        let mut chain = vec![category];
        if category.parent != 1 {
            chain.extend(self.chain(category.parent)?);
        }
        Some(chain)
    }

    /// Joomla's page of an article: its category may be seen, and those above it are published.
    fn sees_article(&self, user: u32, id: u64) -> bool {
        let now = self.seconds();
        self.tables.items[0].get(&id).is_some_and(|item| {
            let chain = self.chain(item.category.unwrap()).unwrap();
            matches!(item.state, 1 | 2)
                && item.publish_up.is_none_or(|up| up <= now)
                && item.publish_down.is_none_or(|down| down >= now)
                && self.has_level(user, item.access)
                && self.has_level(user, chain[0].access)
                && chain.iter().all(|one| matches!(one.published, 1 | 2))
        })
    }

    /// Whether a user (0: a guest) may subscribe to a channel, by the table of design section 5.
    pub fn may(&self, user: u32, channel: &str) -> bool {
        let Some((prefix, name)) = channel.split_once('-') else {
            return true;
        };
        if prefix == "presence" && user == 0 {
            return false;
        }
        if let Some(id) = name.strip_prefix("user-") {
            return user > 0 && id.parse() == Ok(user);
        }
        if let Some(id) = name.strip_prefix("group-") {
            return self.groups_of(user).contains(&id.parse().unwrap());
        }
        if let Some(id) = name.strip_prefix("level-") {
            return self.has_level(user, id.parse().unwrap());
        }
        if let Some(id) = name.strip_prefix("com_content.article.") {
            return self.sees_article(user, id.parse().unwrap());
        }
        if let Some(id) = name.strip_prefix("com_content.category.") {
            return self.sees_category(user, id.parse().unwrap());
        }
        match name {
            "manage-com_content" => self.manages(user),
            // The rule of the configuration.
            "staff" => user == 41 || self.groups_of(user).contains(&3),
            _ => false,
        }
    }
}

/// The database's behaviour towards a process that connects.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Answers {
    #[default]
    Greets,
    Refuses,
    Silent,
}

/// Numbers the nested set anew.
fn number(groups: &mut [GroupRow]) {
    fn walk(groups: &mut [GroupRow], parent: u32, next: &mut i64) {
        for n in 0..groups.len() {
            if groups[n].parent == parent {
                groups[n].lft = *next;
                *next += 1;
                walk(groups, groups[n].id, next);
                groups[n].rgt = *next;
                *next += 1;
            }
        }
    }
    walk(groups, 0, &mut 1);
}

pub fn row(channel: &str, data: &Value) -> NewRow {
    NewRow {
        channel: channel.into(),
        event: "news".into(),
        data: data.to_string(),
        socket_id: None,
    }
}

pub fn control(event: &str, data: &Value) -> NewRow {
    NewRow {
        event: event.into(),
        ..row("#control", data)
    }
}

/// The session's own part of the form token.
fn token_of(id: &SessionId) -> String {
    let digits = id.expose().trim_start_matches('s');
    format!("{digits}{digits}")
}

/// The form token of a page of this session.
pub fn form_token_of(secret: &str, id: &SessionId, user: u32) -> String {
    form_token(secret, user, &token_of(id))
}

/// A session's text as PHP writes it.
fn text(user: u32, token: &str) -> Vec<u8> {
    let user = match user {
        0 => String::new(),
        id => format!("i:{id};"),
    };
    let user = match user.is_empty() {
        true => "s:4:\"user\";O:20:\"Joomla\\CMS\\User\\User\":0:{}".to_owned(),
        false => format!("s:4:\"user\";O:20:\"Joomla\\CMS\\User\\User\":1:{{s:2:\"id\";{user}}}"),
    };
    let session = format!("s:7:\"session\";O:8:\"stdClass\":1:{{s:5:\"token\";s:32:\"{token}\";}}");
    let data =
        format!("O:24:\"Joomla\\Registry\\Registry\":1:{{s:7:\"\0*\0data\";O:8:\"stdClass\":2:{{{session}{user}}}}}");
    let encoded = BASE64.encode(data.as_bytes());
    format!("joomla|s:{}:\"{encoded}\";", encoded.len()).into_bytes()
}

/// One process's way to the database.
pub struct SimStore {
    base: Base,
    n: usize,
    endpoints: Vec<ListenAddr>,
}

impl SimStore {
    pub fn new(base: &Base, n: usize) -> Self {
        Self {
            base: base.clone(),
            n,
            endpoints: base.borrow().lines[n].link.endpoints().to_vec(),
        }
    }
}

impl fmt::Debug for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store of process {}", self.n)
    }
}

impl Store for SimStore {
    fn readiness(&self, now: Now) -> Readiness {
        self.base.borrow().lines[self.n].link.readiness(now)
    }

    fn endpoints(&self) -> &[ListenAddr] {
        &self.endpoints
    }

    fn move_to(&mut self, endpoints: Vec<ListenAddr>) {
        self.endpoints = endpoints;
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn probed(&mut self, endpoint: Result<usize, NoGreeting>, now: Now) {
        let base = &mut *self.base.borrow_mut();
        base.lines[self.n].link.probed(endpoint, &base.tables, now);
    }

    fn ask(&mut self, question: &Question, now: Now) -> Result<Answer, Failure> {
        self.base.borrow_mut().ask(self.n, question, now)
    }
}
