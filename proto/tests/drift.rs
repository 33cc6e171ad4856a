//! Our contracts against containerd's own and Kubernetes', as `integration/go/descriptors` recorded them.
//!
//! What we declare must exist there with the same meaning on the wire. In the other direction we may declare
//! less, except for `Snapshots`: we serve it, so a missing field there would be data silently lost.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet, ServiceDescriptorProto,
};

const RECORDED: &str = include_str!("containerd-api-v1.12.0.json");
const CRI: &str = include_str!("cri-api-v0.37.0.json");
const SERVED: &str = "containerd.services.snapshots.v1.";

#[derive(Debug, Default, PartialEq, serde::Deserialize)]
struct Api {
    messages: BTreeMap<String, Vec<Field>>,
    enums: BTreeMap<String, BTreeMap<String, i32>>,
    services: BTreeMap<String, BTreeMap<String, Method>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
struct Field {
    name: String,
    number: i32,
    label: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, PartialEq, serde::Deserialize)]
struct Method {
    input: String,
    output: String,
    client_stream: bool,
    server_stream: bool,
}

impl Api {
    fn add_message(&mut self, scope: &str, message: &DescriptorProto) {
        let name = format!("{scope}.{}", message.name());
        let fields = message.field.iter().map(field).collect();
        message.nested_type.iter().for_each(|nested| self.add_message(&name, nested));
        message.enum_type.iter().for_each(|nested| self.add_enum(&name, nested));
        self.messages.insert(name, fields);
    }

    fn add_enum(&mut self, scope: &str, kind: &EnumDescriptorProto) {
        let values = kind.value.iter().map(|v| (v.name().to_owned(), v.number())).collect();
        self.enums.insert(format!("{scope}.{}", kind.name()), values);
    }

    fn add_service(&mut self, scope: &str, service: &ServiceDescriptorProto) {
        let methods = service.method.iter().map(|m| {
            let method = Method {
                input: full_name(m.input_type()),
                output: full_name(m.output_type()),
                client_stream: m.client_streaming(),
                server_stream: m.server_streaming(),
            };
            (m.name().to_owned(), method)
        });
        self.services.insert(format!("{scope}.{}", service.name()), methods.collect());
    }
}

fn full_name(name: &str) -> String {
    name.trim_start_matches('.').to_owned()
}

fn field(field: &FieldDescriptorProto) -> Field {
    let label = match field.label() {
        _ if field.proto3_optional() => "presence",
        Label::Optional => "optional",
        Label::Required => "required",
        Label::Repeated => "repeated",
    };
    let kind = match field.r#type() {
        Type::Message | Type::Enum | Type::Group => full_name(field.type_name()),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    };
    Field { name: field.name().to_owned(), number: field.number(), label: label.to_owned(), kind }
}

/// What our files declare in containerd's packages.
fn ours() -> Api {
    declared("containerd.")
}

/// What our files declare in packages that begin so.
fn declared(packages: &str) -> Api {
    let set = FileDescriptorSet::decode(chunked_proto::FILE_DESCRIPTOR_SET).expect("build.rs wrote it");
    let mut api = Api::default();
    for file in set.file.iter().filter(|f| f.package().starts_with(packages)) {
        file.message_type.iter().for_each(|m| api.add_message(file.package(), m));
        file.enum_type.iter().for_each(|e| api.add_enum(file.package(), e));
        file.service.iter().for_each(|s| api.add_service(file.package(), s));
    }
    api
}

fn recorded() -> Api {
    serde_json::from_str(RECORDED).expect("the recorded file is JSON of this shape")
}

/// Everything that `ours` says differently from `theirs`, or says alone; and, for the service we serve,
/// everything that only `theirs` says.
fn differences(ours: &Api, theirs: &Api) -> Vec<String> {
    let mut found = Vec::new();
    for (name, fields) in &ours.messages {
        let Some(known) = theirs.messages.get(name) else {
            found.push(format!("message {name} is not containerd's"));
            continue;
        };
        let ours: BTreeSet<_> = fields.iter().collect();
        let theirs: BTreeSet<_> = known.iter().collect();
        found.extend(ours.difference(&theirs).map(|f| format!("{name}: {f:?} is not containerd's")));
        if name.starts_with(SERVED) {
            found.extend(theirs.difference(&ours).map(|f| format!("{name}: {f:?} is missing")));
        }
    }
    for (name, values) in &ours.enums {
        if theirs.enums.get(name) != Some(values) {
            found.push(format!("enum {name} differs from containerd's"));
        }
    }
    for (name, methods) in &ours.services {
        let empty = BTreeMap::new();
        let known = theirs.services.get(name).unwrap_or(&empty);
        let wrong = methods.iter().filter(|(method, shape)| known.get(*method) != Some(*shape));
        found.extend(wrong.map(|(method, _)| format!("call {name}/{method} differs from containerd's")));
        if name.starts_with(SERVED) {
            let missing = known.keys().filter(|method| !methods.contains_key(*method));
            found.extend(missing.map(|method| format!("call {name}/{method} is missing")));
        }
    }
    found
}

#[test]
fn contracts_are_containerds() {
    let ours = ours();
    assert_eq!(ours.services.len(), 7, "services: {:?}", ours.services.keys());
    assert_eq!(differences(&ours, &recorded()), Vec::<String>::new());
}

#[test]
fn what_we_read_of_cri_is_kubernetes() {
    let ours = declared("runtime.");
    assert!(ours.messages.contains_key("runtime.v1.AuthConfig"));
    let theirs: Api = serde_json::from_str(CRI).expect("the recorded file is JSON of this shape");
    assert_eq!(differences(&ours, &theirs), Vec::<String>::new());
    let renumbered = |field: &Field| Field { number: field.number + 1, ..field.clone() };
    let mut changed = declared("runtime.");
    for fields in changed.messages.values_mut() {
        *fields = fields.iter().map(renumbered).collect();
    }
    assert!(!differences(&changed, &theirs).is_empty(), "field numbers must be compared");
}

#[test]
fn every_message_of_the_served_service_is_there() {
    let ours = ours();
    let theirs = recorded();
    for name in theirs.messages.keys().filter(|name| name.starts_with(SERVED)) {
        assert!(ours.messages.contains_key(name), "{name} is missing");
    }
}

#[test]
fn drift_is_noticed() {
    type Change = fn(&mut Api);
    let cases: [(&str, Change); 7] = [
        ("field number", |api| fields(api, "CommitSnapshotRequest")[4].number = 6),
        ("field type", |api| fields(api, "UsageResponse")[0].kind = "uint64".to_owned()),
        ("field label", |api| fields(api, "Info")[0].label = "repeated".to_owned()),
        ("missing field", |api| {
            fields(api, "CommitSnapshotRequest").pop();
        }),
        ("enum value", |api| {
            api.enums.get_mut("containerd.services.snapshots.v1.Kind").unwrap().insert("VIEW".to_owned(), 9);
        }),
        ("streaming", |api| calls(api).get_mut("List").unwrap().server_stream = false),
        ("missing call", |api| {
            calls(api).remove("Cleanup");
        }),
    ];
    for (what, change) in cases {
        let mut changed = ours();
        change(&mut changed);
        assert!(!differences(&changed, &recorded()).is_empty(), "{what} must be noticed");
    }
}

fn fields<'a>(api: &'a mut Api, message: &str) -> &'a mut Vec<Field> {
    api.messages.get_mut(&format!("{SERVED}{message}")).unwrap()
}

fn calls(api: &mut Api) -> &mut BTreeMap<String, Method> {
    api.services.get_mut("containerd.services.snapshots.v1.Snapshots").unwrap()
}
