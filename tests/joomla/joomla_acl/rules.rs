//! Single cases of groups, view levels and assets that a reader should be able to look up, the damaged ones above all.

use jsocketd::joomla::acl::Acl;
use jsocketd::store::{AssetRow, GroupRow, LevelRow};

/// 1 Public > (2 Registered > 3 Author, 8 Super Users, 9 Guest)
fn groups() -> Vec<GroupRow> {
    let row = |(id, parent, lft, rgt)| GroupRow { id, parent, lft, rgt };
    [(1, 0, 1, 10), (9, 1, 2, 3), (2, 1, 4, 7), (3, 2, 5, 6), (8, 1, 8, 9)]
        .map(row)
        .to_vec()
}

fn asset(name: &str, lft: i64, rgt: i64, rules: &str) -> AssetRow {
    let (name, rules) = (name.to_owned(), rules.to_owned());
    AssetRow { name, rules, lft, rgt }
}

const ROOT_RULES: &str = r#"{"core.admin":{"8":1},"core.edit":{"3":1},"core.login.site":{"2":1}}"#;

/// A site whose component com_a has these rules.
fn site(rules: &str) -> (Acl, Vec<String>) {
    let assets = [asset("root.1", 0, 9, ROOT_RULES), asset("com_a", 1, 8, rules)];
    Acl::new(&groups(), &[], &assets, Some(9))
}

/// Whether an author may edit in com_a.
fn author_edits(rules: &str) -> bool {
    site(rules).0.authorise(7, &[1, 2, 3], false, "core.edit", "com_a")
}

fn level(rules: &str) -> (Box<[u32]>, Vec<String>) {
    let level = LevelRow {
        id: 5,
        rules: rules.to_owned(),
    };
    let (acl, warnings) = Acl::new(&groups(), &[level], &[asset("root.1", 0, 9, ROOT_RULES)], None);
    (acl.levels(7, &[1, 2], false), warnings)
}

#[test]
fn groups_bring_their_ancestors() {
    let (acl, _) = site("{}");
    assert_eq!(*acl.groups(&[3]), [1, 2, 3]);
    assert_eq!(*acl.groups(&[8, 2]), [1, 2, 8]);
    assert_eq!(*acl.groups(&[]), [1]);
    // Joomla puts a user whose groups are all deleted into group 0, which does not exist.
    assert!(acl.groups(&[77]).is_empty());
    assert_eq!(*acl.groups(&[77, 2]), [1, 2]);
    assert_eq!(acl.guest_groups(), [1, 9]);
}

#[test]
fn guests_are_in_the_group_that_com_users_says() {
    let guests = |group| Acl::new(&groups(), &[], &[], group).0.guest_groups().to_vec();
    assert_eq!(guests(Some(2)), [1, 2]);
    assert_eq!(guests(None), [1]);
    assert_eq!(guests(Some(77)), [1]);
    assert_eq!(Acl::new(&[], &[], &[], Some(9)).0.guest_groups(), [1]);
}

#[test]
fn no_rules_inherit() {
    for none in ["{}", "[]", "", " ", "null", r#""""#] {
        let (acl, warnings) = site(none);
        assert!(acl.authorise(7, &[1, 2, 3], false, "core.edit", "com_a"), "{none}");
        assert!(warnings.is_empty(), "{none}: {warnings:?}");
    }
    for none in ["[]", "{}", r#""""#, "null"] {
        assert!(author_edits(&format!(r#"{{"core.edit":{none}}}"#)), "{none}");
    }
}

#[test]
fn a_denial_wins_wherever_it_stands() {
    assert!(!author_edits(r#"{"core.edit":{"3":0}}"#));
    assert!(!author_edits(r#"{"core.edit":{"1":0,"3":1}}"#));
    assert!(!author_edits(r#"{"core.edit":{"-7":0,"3":1}}"#));
    assert!(author_edits(r#"{"core.edit":{"-8":0}}"#));
    assert!(!author_edits(r#"{"core.edit":{"3":1,"03":0}}"#));
    for no in ["0", "false", "null", r#""""#, r#""0""#, "0.0"] {
        assert!(!author_edits(&format!(r#"{{"core.edit":{{"3":{no}}}}}"#)), "{no}");
    }
}

#[test]
fn a_user_and_a_guest_can_be_named() {
    let (acl, _) = site(r#"{"core.create":{"-7":1,"0":1}}"#);
    assert!(acl.authorise(7, &[1, 2], false, "core.create", "com_a"));
    assert!(!acl.authorise(8, &[1, 2], false, "core.create", "com_a"));
    assert!(acl.authorise(0, &[1, 9], false, "core.create", "com_a"));
}

#[test]
fn super_users_and_the_root_user_may_everything() {
    let (acl, _) = site(r#"{"core.edit":{"1":0}}"#);
    assert!(acl.authorise(7, &[1, 8], false, "core.edit", "com_a"));
    assert!(acl.authorise(7, &[1], true, "core.edit", "com_a"));
    // A guest is never a super user, even if the group of guests is a super user group.
    assert!(!acl.authorise(0, &[1, 8], false, "core.edit", "com_a"));
    assert!(acl.authorise(0, &[1, 8], false, "core.admin", ""));
}

#[test]
fn an_unknown_asset_is_its_component_and_an_unknown_component_the_root() {
    let (acl, _) = site(r#"{"core.edit":{"2":0},"core.create":{"2":1}}"#);
    let may = |action, asset| acl.authorise(7, &[1, 2, 3], false, action, asset);
    assert!(may("core.create", "com_a.article.9"));
    assert!(!may("core.edit", "com_a.article.9"));
    assert!(
        may("core.edit", "com_b")
            && may("core.edit", "com_b.x.1")
            && may("core.edit", "")
            && may("core.edit", "root.1")
    );
    assert!(!may("core.create", "com_b"));
    // Ids are not known here.
    for id in ["1", "8", "1.5", "1e1", "-1"] {
        assert!(!may("core.edit", id), "{id}");
    }
}

#[test]
fn actions_and_assets_are_cleaned_as_joomla_cleans_them() {
    let (acl, _) = site(r#"{"core.edit.own":{"2":1}}"#);
    for action in ["core.edit.own", " Core.Edit.Own\n", "core edit - own", "core-edit-own"] {
        assert!(acl.authorise(7, &[1, 2], false, action, "com_a"), "{action:?}");
        assert!(acl.authorise(7, &[1, 2], false, action, " COM_A\t"), "{action:?}");
    }
    assert!(!acl.authorise(7, &[1, 2], false, "core..edit.own", "com_a"));
    assert!(!acl.authorise(7, &[1, 2], false, "core.edit.own.", "com_a"));
}

#[test]
fn only_ancestors_of_the_same_component_and_the_root_are_asked() {
    let assets = [
        asset("root.1", 0, 99, ROOT_RULES),
        asset("com_a", 1, 10, "{}"),
        asset("com_a.category.1", 2, 5, r#"{"core.edit":{"2":1}}"#),
        asset("com_a.article.1", 3, 4, "{}"),
        asset("com_a.article.2", 6, 7, "{}"),
        // Its place in the nested set is wrong: it seems to hold all of com_a.
        asset("com_b", 0, 50, r#"{"core.create":{"2":1}}"#),
        asset("com_b.x.1", 0, 50, r#"{"core.create":{"2":1}}"#),
        // It seems to stand outside of everything.
        asset("com_c", 200, 201, r#"{"core.login.site":{"2":0}}"#),
        asset("com_c.x.1", 300, 301, "{}"),
    ];
    let (acl, _) = Acl::new(&groups(), &[], &assets, None);
    let may = |action, asset| acl.authorise(7, &[1, 2], false, action, asset);
    assert!(may("core.edit", "com_a.article.1") && may("core.edit", "com_a.category.1"));
    assert!(!may("core.edit", "com_a.article.2") && !may("core.edit", "com_a"));
    assert!(!may("core.create", "com_a.article.1") && !may("core.create", "com_a"));
    assert!(may("core.login.site", "com_a") && !may("core.login.site", "com_c.x.1"));
}

#[test]
fn unreadable_rules_deny_all_users() {
    let deep = format!("{}1{}", r#"{"core.edit":"#.repeat(200), "}".repeat(200));
    for corrupt in [
        "{",
        "x",
        "{\"core.edit\":{\"3\":1}",
        "[1]",
        "17",
        "true",
        r#""core.edit""#,
        &deep,
    ] {
        let (acl, warnings) = site(corrupt);
        assert!(!acl.authorise(7, &[1, 2, 3], false, "core.edit", "com_a"), "{corrupt}");
        assert!(
            !acl.authorise(7, &[1, 2, 3], false, "core.login.site", "com_a"),
            "{corrupt}"
        );
        assert!(acl.authorise(7, &[1, 2, 3], false, "core.edit", ""), "{corrupt}");
        assert!(acl.authorise(7, &[1, 8], false, "core.edit", "com_a"), "{corrupt}");
        assert_eq!(
            warnings,
            [r#"the rules of the asset "com_a" cannot be read, so it denies everything"#],
            "{corrupt}"
        );
    }
}

#[test]
fn an_action_that_cannot_be_read_is_denied() {
    for odd in [
        "17",
        "true",
        r#""x""#,
        r#""{\"3\":1}""#,
        r#"{"3":{}}"#,
        r#"{"3":[1]}"#,
        r#"{"x":0}"#,
        r#"{"":0}"#,
        r#"{" 3":0}"#,
        r#"{"3x":0}"#,
        r#"{"9999999999999999999999":0}"#,
    ] {
        let (acl, warnings) = site(&format!(r#"{{"core.edit":{odd},"core.create":{{"2":1}}}}"#));
        assert!(!acl.authorise(7, &[1, 2, 3], false, "core.edit", "com_a"), "{odd}");
        assert!(acl.authorise(7, &[1, 2, 3], false, "core.create", "com_a"), "{odd}");
        assert_eq!(warnings.len(), 1, "{odd}: {warnings:?}");
    }
    // A rule for a group that is no number changes nothing.
    let (acl, warnings) = site(r#"{"core.edit":{"x":1},"core.create":{"2x":1}}"#);
    assert!(acl.authorise(7, &[1, 2, 3], false, "core.edit", "com_a"));
    assert!(!acl.authorise(7, &[1, 2, 3], false, "core.create", "com_a"));
    assert_eq!(warnings.len(), 1);
}

#[test]
fn a_root_that_cannot_be_read_or_is_not_there_allows_nothing() {
    let com_a = asset("com_a", 1, 2, r#"{"core.edit":{"1":1}}"#);
    let corrupt = [asset("root.1", 0, 9, "{"), com_a.clone()];
    for assets in [&corrupt[..], &[com_a]] {
        let (acl, warnings) = Acl::new(&groups(), &[], assets, None);
        assert!(!acl.authorise(7, &[1, 8], false, "core.edit", "com_a"));
        assert!(!acl.authorise(7, &[1, 8], false, "core.edit", ""));
        assert!(acl.authorise(7, &[1], true, "core.edit", "com_a"));
        assert_eq!(warnings.len(), 1);
    }
}

#[test]
fn an_asset_that_is_there_twice_denies() {
    let allow = r#"{"core.edit":{"1":1}}"#;
    let assets = [
        asset("root.1", 0, 9, ROOT_RULES),
        asset("com_a", 1, 2, allow),
        asset("COM_A", 3, 4, allow),
    ];
    let (acl, warnings) = Acl::new(&groups(), &[], &assets, None);
    assert!(!acl.authorise(7, &[1, 2, 3], false, "core.edit", "com_a"));
    assert_eq!(warnings.len(), 1);
}

#[test]
fn levels_open_for_groups_and_users() {
    for open in ["[2]", "[77,2]", r#"["2"]"#, "[-7]", r#"["-7"]"#, r#"{"0":77,"4":"2"}"#] {
        assert_eq!(level(open), ([1, 5].into(), vec![]), "{open}");
    }
    for shut in ["[]", "{}", "", "null", "[3]", "[7]", "[-2]", "[0]"] {
        assert_eq!(level(shut), ([1].into(), vec![]), "{shut}");
    }
    // Every visitor has level 1; and no guest is user 0.
    let public = LevelRow {
        id: 1,
        rules: "[77]".to_owned(),
    };
    let zero = LevelRow {
        id: 2,
        rules: r#"["-0"]"#.to_owned(),
    };
    let (acl, _) = Acl::new(&groups(), &[public, zero], &[], None);
    assert_eq!(*acl.levels(0, &[1], false), [1]);
}

#[test]
fn an_unreadable_level_opens_for_no_user() {
    for corrupt in ["[", "[2", "2", "-7", r#""2""#, "true", "x", "{\"\\u0000a\":2}"] {
        let (levels, warnings) = level(corrupt);
        assert_eq!(*levels, [1], "{corrupt}");
        assert_eq!(
            warnings,
            ["the rules of view level 5 cannot be read, so it opens for nobody"],
            "{corrupt}"
        );
    }
    for odd in [
        r#"["x"]"#,
        "[[2]]",
        r#"[{"2":2}]"#,
        "[true]",
        "[null]",
        "[2.5]",
        r#"["2x"]"#,
        "[1e99]",
    ] {
        let (levels, warnings) = level(odd);
        assert_eq!(*levels, [1], "{odd}");
        assert_eq!(warnings.len(), 1, "{odd}");
    }
    let (levels, warnings) = level(r#"["x",2]"#);
    assert_eq!((&*levels, warnings.len()), (&[1, 5][..], 1));
}

#[test]
fn super_users_have_no_level_for_free_but_the_root_user_has_theirs() {
    let levels = [(2, "[2]"), (6, "[8]"), (7, "[3]"), (9, "[-7,0]")].map(|(id, rules)| LevelRow {
        id,
        rules: rules.to_owned(),
    });
    let (acl, _) = Acl::new(&groups(), &levels, &[asset("root.1", 0, 9, ROOT_RULES)], None);
    assert_eq!(*acl.levels(7, &[1, 8], false), [1, 6, 9]);
    assert_eq!(*acl.levels(7, &[1, 2], true), [1, 6]);
}

#[test]
fn a_circle_of_groups_makes_no_super_users() {
    let mut groups = groups();
    groups.push(GroupRow {
        id: 20,
        parent: 21,
        lft: 20,
        rgt: 21,
    });
    groups.push(GroupRow {
        id: 21,
        parent: 20,
        lft: 22,
        rgt: 23,
    });
    groups.push(GroupRow {
        id: 22,
        parent: 77,
        lft: 24,
        rgt: 25,
    });
    let level = LevelRow {
        id: 2,
        rules: "[20,22]".to_owned(),
    };
    let root = asset("root.1", 0, 9, r#"{"core.admin":{"20":1,"21":1,"22":1}}"#);
    let (acl, _) = Acl::new(&groups, &[level], &[root], None);
    assert_eq!(*acl.levels(7, &[1], true), [1]);
}

#[test]
fn equal_rows_make_equal_facts() {
    assert_eq!(site("{}").0, site("[]").0);
    assert_ne!(site("{}").0, site(r#"{"core.edit":{"3":0}}"#).0);
}
