//! What events say.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{Author, DOCUMENTS, NUMBERS, SUB_USERS};
use crate::model::{Account, accounts, invoices};
use crate::words::{self, list};

const GROUPS: [&str; 5] = ["Rechnungen", "Rechnungen", "billing", "Technik", "rechnungen"];
const COMPANIES: [&str; 2] = ["Muster GmbH", "Muster & Söhne"];
const SCHEDULES: [&str; 3] = ["default", "monthly", "unheard-of"];
/// The last has no template.
const LANGUAGES: [&str; 4] = ["de", "de", "en", "fr"];

impl Author {
    /// The data of an account event, account and version apart.
    pub(super) fn change(&mut self, kind: &str, known: Option<&Account>) -> Value {
        match kind {
            "account.updated" => match known {
                Some(known) if self.rng.u32(..3) == 0 => {
                    let mut data = self.in_other_words(&known.profile);
                    if self.rng.bool() {
                        self.alter(&mut data);
                    }
                    data
                }
                Some(_) | None => self.profile(),
            },
            "account.closed" => json!({}),
            "sub_user.saved" => {
                let id = self.one_of(&SUB_USERS);
                let known = known.and_then(|known| known.profile["sub_users"].get(id));
                let sub_user = match known {
                    Some(known) if self.rng.u32(..3) == 0 => {
                        let mut said = self.in_other_words(known);
                        said["id"] = json!(id);
                        said
                    }
                    Some(_) | None => self.saved_sub_user(id),
                };
                json!({"sub_user": sub_user})
            }
            "sub_user.removed" => {
                let selected = known.and_then(|known| known.profile["billing_contact"].as_str());
                match selected {
                    Some(selected) if self.rng.bool() => json!({"sub_user": selected}),
                    Some(_) | None => json!({"sub_user": self.one_of(&SUB_USERS)}),
                }
            }
            _ => {
                let nobody = self.rng.u32(..4) == 0;
                let id = self.one_of(&SUB_USERS);
                json!({"sub_user": if nobody { Value::Null } else { json!(id) }})
            }
        }
    }

    pub(super) fn profile(&mut self) -> Value {
        let mut sub_users = Vec::new();
        let mut ids = SUB_USERS[..3].to_vec();
        self.rng.shuffle(&mut ids);
        for id in ids {
            if self.rng.bool() {
                sub_users.push(self.whole_sub_user(id));
            }
        }
        if self.rng.u32(..100) == 0 {
            for n in sub_users.len()..self.one_of(&[99, 100, 100, 101]) {
                let contact = json!({"name": "Erika Muster", "addresses": []});
                sub_users
                    .push(json!({"id": format!("m-{n}"), "group": "Technik", "contact": contact}));
            }
        }
        let billing_contact = match self.rng.u32(..10) {
            0..4 => Value::Null,
            // Whoever that is.
            4 => json!(self.one_of(&SUB_USERS)),
            _ => {
                let in_group = sub_users.iter().find(|sub_user| {
                    sub_user["group"] == "Rechnungen" || sub_user["group"] == "billing"
                });
                in_group.map_or(Value::Null, |sub_user| sub_user["id"].clone())
            }
        };
        let least = usize::from(self.rng.u32(..8) > 0);
        let mut data = json!({
            "main_contact": self.contact(least),
            "sub_users": sub_users,
            "billing_contact": billing_contact,
        });
        let name = self.one_of(&COMPANIES);
        self.perhaps(&mut data, "name", name);
        self.perhaps_a_language(&mut data);
        if self.rng.u32(..3) == 0 {
            let schedule = self.one_of(&SCHEDULES);
            self.perhaps(&mut data, "schedule", schedule);
        }
        data
    }

    fn whole_sub_user(&mut self, id: &str) -> Value {
        let group = self.one_of(&GROUPS);
        let is_free = !matches!(group, "Rechnungen" | "billing");
        let least = usize::from(self.rng.u32(..if is_free { 2 } else { 12 }) > 0);
        let mut sub_user = json!({"id": id, "group": group, "contact": self.contact(least)});
        self.perhaps_a_login(&mut sub_user);
        sub_user
    }

    fn saved_sub_user(&mut self, id: &str) -> Value {
        if self.rng.bool() {
            return self.whole_sub_user(id);
        }
        let source = match self.rng.u32(..32) {
            0 => json!({"main_contact": true, "sub_user": self.one_of(&SUB_USERS)}),
            1 => json!({"main_contact": false}),
            2 => json!({}),
            3..17 => json!({"main_contact": true}),
            _ => json!({"sub_user": self.one_of(&SUB_USERS)}),
        };
        let mut sub_user = json!({"id": id, "group": self.one_of(&GROUPS), "copy_from": source});
        self.perhaps_a_login(&mut sub_user);
        match self.rng.u32(..4) {
            0 => {}
            1 => sub_user["contact"] = Value::Null,
            _ => {
                let mut contact = json!({});
                if self.rng.bool() {
                    contact["name"] = json!(self.some_name());
                }
                let company = self.one_of(&COMPANIES);
                self.perhaps(&mut contact, "company", company);
                self.perhaps_a_language(&mut contact);
                if self.rng.u32(..3) == 0 {
                    contact["addresses"] = match self.rng.u32(..5) {
                        0 => Value::Null,
                        _ => self.addresses(1),
                    };
                }
                sub_user["contact"] = contact;
            }
        }
        sub_user
    }

    fn contact(&mut self, least: usize) -> Value {
        let mut contact = json!({"name": self.some_name(), "addresses": self.addresses(least)});
        let company = self.one_of(&COMPANIES);
        self.perhaps(&mut contact, "company", company);
        self.perhaps_a_language(&mut contact);
        if self.rng.u32(..8) == 0 {
            contact["receiving"] = Value::Null;
        }
        contact
    }

    fn some_name(&mut self) -> &'static str {
        self.one_of(&["Erika Muster", "Buchhaltung"])
    }

    fn addresses(&mut self, least: usize) -> Value {
        let count = if least == 0 { 0 } else { self.rng.usize(least..3) };
        if least > 0 && self.rng.u32(..60) == 0 {
            let count = self.one_of(&[10, 11]);
            return (0..count).map(|n| format!("m{n}@muster.example")).collect();
        }
        let first = self.rng.usize(..3);
        let all = ["a@muster.example", "b@muster.example", "c.d@muster.example"];
        (0..count).map(|n| all[(first + n) % 3]).collect()
    }

    /// A member that may be absent or `null`.
    fn perhaps(&mut self, object: &mut Value, name: &str, value: &str) {
        match self.rng.u32(..4) {
            0 => object[name] = Value::Null,
            1 => object[name] = json!(value),
            _ => {}
        }
    }

    fn perhaps_a_language(&mut self, object: &mut Value) {
        let language = self.one_of(&LANGUAGES);
        self.perhaps(object, "language", language);
    }

    fn perhaps_a_login(&mut self, sub_user: &mut Value) {
        let logins = [
            json!(null),
            json!({}),
            json!({"enabled": true, "user_name": "erika", "permissions": ["dns"]}),
            json!({"enabled": false, "user_name": null, "permissions": []}),
        ];
        if self.rng.bool() {
            sub_user["login"] = logins[self.rng.usize(..logins.len())].clone();
        }
    }

    // The same in other words.

    /// What the model knows of an account or a contact, as an event may say it: languages and addresses otherwise
    /// written, `null` as nothing, and nothing as what it stands for.
    fn in_other_words(&mut self, known: &Value) -> Value {
        let Some(members) = known.as_object() else { return known.clone() };
        let mut said = Map::new();
        for (name, value) in members {
            let (value, is_optional) = match name.as_str() {
                "sub_users" => (self.sub_users_in_other_words(value), false),
                "billing_contact" => (value.clone(), false),
                "language" => (self.language_in_other_words(value), true),
                "addresses" if self.rng.u32(..3) == 0 => {
                    let addresses = list(value).iter().filter_map(Value::as_str);
                    (addresses.map(|one| one.replace("@muster", "@MUSTER")).collect(), false)
                }
                "schedule" if value.is_null() && self.rng.u32(..3) == 0 => (json!("default"), true),
                "enabled" | "permissions"
                    if [json!(false), json!([])].contains(value) && self.rng.bool() =>
                {
                    (Value::Null, true)
                }
                "amount" => (self.amount_in_other_words(value), false),
                "media_type" if self.rng.bool() => {
                    (json!(value.as_str().unwrap_or_default().to_uppercase()), false)
                }
                _ => (self.in_other_words(value), true),
            };
            if !(is_optional && value.is_null() && self.rng.bool()) {
                said.insert(name.clone(), value);
            }
        }
        if said.contains_key("addresses") && self.rng.bool() {
            said.insert("receiving".to_owned(), Value::Null);
        }
        Value::Object(said)
    }

    /// The set as a list.
    fn sub_users_in_other_words(&mut self, known: &Value) -> Value {
        let mut sub_users = Vec::new();
        for (id, sub_user) in known.as_object().into_iter().flatten() {
            let mut said = self.in_other_words(sub_user);
            said["id"] = json!(id);
            sub_users.push(said);
        }
        self.rng.shuffle(&mut sub_users);
        json!(sub_users)
    }

    fn language_in_other_words(&mut self, known: &Value) -> Value {
        let Some(language) = known.as_str() else { return Value::Null };
        json!(match self.rng.u32(..4) {
            0 => format!("{language}-AT"),
            1 => format!("{language}_DE"),
            2 => language.to_uppercase(),
            _ => language.to_owned(),
        })
    }

    fn amount_in_other_words(&mut self, known: &Value) -> Value {
        let amount = known.as_str().unwrap_or_default();
        let is_short = amount.contains('.') && self.rng.bool();
        json!(if is_short { amount.trim_end_matches('0').trim_end_matches('.') } else { amount })
    }

    /// Changes one thing about a whole account.
    fn alter(&mut self, data: &mut Value) {
        match self.rng.u32(..6) {
            0 => data["name"] = json!("Muster AG"),
            1 => data["main_contact"]["addresses"] = self.addresses(0),
            2 => data["main_contact"]["addresses"] = self.addresses(1),
            3 => data["billing_contact"] = Value::Null,
            4 => data["billing_contact"] = json!(self.one_of(&SUB_USERS)),
            _ => data["sub_users"] = json!([]),
        }
    }

    // Invoices.

    pub(super) fn invoice(&mut self, account: &str, number: &str) -> Value {
        let known = invoices::invoice_of(&self.script.history, account, number)
            .map(|(_, known)| known.clone());
        match known {
            Some(known) if self.rng.u32(..5) > 0 => {
                let mut data = self.invoice_in_other_words(&known);
                if self.rng.bool() {
                    let other = self.new_invoice(account, number);
                    let name = self.one_of(&[
                        "issued_on",
                        "due_on",
                        "total",
                        "release",
                        "min_account_version",
                        "portal_url",
                        "documents",
                    ]);
                    data[name] = other[name].clone();
                }
                data
            }
            Some(_) | None => self.new_invoice(account, number),
        }
    }

    pub(super) fn new_invoice(&mut self, account: &str, number: &str) -> Value {
        let version =
            accounts::account(&self.script.history, account).map_or(0, |known| known.version);
        let kind =
            self.one_of(&["invoice", "invoice", "credit_note", "corrected_invoice", "reminder"]);
        let (amount, currency) = self.one_of(&[
            ("119.00", "EUR"),
            ("-5", "EUR"),
            ("0.5", "EUR"),
            ("119", "JPY"),
            ("1.005", "KWD"),
            ("-0.00", "EUR"),
        ]);
        let mut documents = Vec::new();
        let first = self.rng.usize(..3);
        for n in 0..self.one_of(&[1, 1, 1, 2]) {
            documents.push(self.document_of_invoice((first + n) % 3));
        }
        if self.rng.u32(..60) == 0 {
            for n in documents.len()..self.one_of(&[20, 21]) {
                let mut document = self.document_of_invoice(n % 3);
                document["file_name"] = json!(format!("d-{n}.pdf"));
                documents.push(document);
            }
        }
        let mut data = json!({
            "account": account,
            "number": number,
            "kind": kind,
            "issued_on": self.one_of(&["2026-11-23", "2026-12-01"]),
            "total": {"amount": amount, "currency": currency},
            "release": self.one_of(&["scheduled", "immediately"]),
            "documents": documents,
        });
        if kind == "corrected_invoice"
            || kind == "reminder"
            || kind == "credit_note" && self.rng.bool()
        {
            data["refers_to"] = json!(self.one_of(&NUMBERS));
        }
        self.perhaps(&mut data, "due_on", "2026-12-07");
        self.perhaps(&mut data, "portal_url", "https://portal.example/i/42");
        if self.rng.u32(..3) == 0 {
            data["min_account_version"] =
                json!((version + self.rng.u64(..4)).saturating_sub(1).max(1));
        }
        data
    }

    fn document_of_invoice(&mut self, which: usize) -> Value {
        let (file_name, media_type, bytes) = DOCUMENTS[which];
        let mut document = json!({"file_name": file_name, "media_type": media_type});
        let (is_inside, is_both) = (self.rng.bool(), self.rng.u32(..40) == 0);
        if is_inside || is_both {
            document["content_base64"] = json!(STANDARD.encode(bytes));
        }
        if !is_inside || is_both {
            document["sha256"] = json!(words::digest(bytes));
        }
        document
    }

    fn invoice_in_other_words(&mut self, known: &Value) -> Value {
        let mut data = self.in_other_words(known);
        if self.rng.bool() {
            let mut documents = Vec::new();
            for document in list(&known["documents"]) {
                let same = |(_, _, bytes): &(&str, &str, &[u8])| {
                    document["sha256"] == words::digest(bytes)
                };
                let mut said = match DOCUMENTS.iter().position(same) {
                    Some(which) => self.document_of_invoice(which),
                    None => document.clone(),
                };
                said["file_name"] = document["file_name"].clone();
                documents.push(self.in_other_words(&said));
            }
            data["documents"] = json!(documents);
        }
        data
    }
}
