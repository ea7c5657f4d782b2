//! What is answered to which request, as Bitwarden's own server and Vaultwarden do.

use serde_json::{Map, Value, json};

use super::http::{Request, Response};
use super::vault::Vault;
use super::{EMAIL, ROUNDS};

const REFRESH: &str = "refresh-token";

/// Answers `request`.
pub fn answer(vault: &mut Vault, request: &Request) -> Response {
    let path: Vec<&str> = request.path.split('/').filter(|part| !part.is_empty()).collect();
    match (request.method.as_str(), path.as_slice()) {
        ("POST", ["identity" | "api", "accounts", "prelogin", ..]) => Response::ok(prelogin()),
        ("POST", ["identity", "connect", "token"]) => token(vault, request),
        ("GET", ["api", "config"]) => Response::ok(config(&format!("http://{}", request.host))),
        (method, ["api", rest @ ..]) => match &request.token {
            Some(token) if vault.admits(token) => inside(vault, method, rest, &request.json()),
            _ => Response::refused(401),
        },
        _ => Response::refused(404),
    }
}

/// To who has logged in.
fn inside(vault: &mut Vault, method: &str, path: &[&str], body: &Value) -> Response {
    let found = match (method, path) {
        ("GET", ["sync"]) => Some(sync(vault)),
        ("GET", ["accounts", "profile"]) => Some(profile(vault)),
        ("GET", ["accounts", "revision-date"]) => Some(vault.revision().as_millisecond().into()),
        ("GET", ["folders"]) => Some(list(vault.folders())),
        ("POST", ["folders"]) => Some(vault.add_folder(&body["name"])),
        ("GET", ["ciphers"]) => Some(list(vault.ciphers())),
        ("POST", ["ciphers"]) => vault.keep(None, &camel_case(body)),
        ("GET", ["ciphers", id]) => cipher(vault, id),
        ("PUT" | "POST", ["ciphers", id]) => vault.keep(Some(id), &camel_case(body)),
        ("DELETE", ["ciphers", id]) => vault.remove(id).then_some(Value::Null),
        ("PUT", ["ciphers", id, "delete"]) => vault.trash(id, true).then_some(Value::Null),
        ("PUT", ["ciphers", id, "restore"]) => vault.trash(id, false).then(|| cipher(vault, id)).flatten(),
        _ => None,
    };
    found.map_or_else(|| Response::refused(404), Response::ok)
}

fn prelogin() -> Value {
    json!({
        "kdf": 0, "kdfIterations": ROUNDS, "kdfMemory": null, "kdfParallelism": null, "salt": EMAIL,
        "kdfSettings": { "kdfType": 0, "iterations": ROUNDS, "memory": null, "parallelism": null },
    })
}

fn token(vault: &Vault, request: &Request) -> Response {
    let given = |name: &str| request.form(name).unwrap_or_default();
    let admitted = match given("grant_type").as_str() {
        "password" => given("username").eq_ignore_ascii_case(EMAIL) && given("password") == vault.master.login,
        "refresh_token" => given("refresh_token") == REFRESH,
        _ => false,
    };
    if !admitted {
        let model = json!({ "Message": "Username or password is incorrect. Try again", "Object": "error" });
        let description = "invalid_username_or_password";
        let body = json!({ "error": "invalid_grant", "error_description": description, "ErrorModel": model });
        return Response { status: 400, body };
    }
    let kdf = json!({ "KdfType": 0, "Iterations": ROUNDS, "Memory": null, "Parallelism": null });
    let unlock = json!({
        "Kdf": kdf, "MasterKeyEncryptedUserKey": vault.sealed_key,
        "MasterKeyWrappedUserKey": vault.sealed_key, "Salt": EMAIL,
    });
    let decryption =
        json!({ "HasMasterPassword": true, "MasterPasswordUnlock": unlock, "Object": "userDecryptionOptions" });
    Response::ok(json!({
        "access_token": vault.token(), "refresh_token": REFRESH, "expires_in": 7200, "token_type": "Bearer",
        "scope": "api offline_access", "Key": vault.sealed_key, "PrivateKey": vault.sealed_sharing,
        "AccountKeys": account_keys(vault),
        "Kdf": 0, "KdfIterations": ROUNDS, "KdfMemory": null, "KdfParallelism": null,
        "ResetMasterPassword": false, "ForcePasswordReset": false, "MasterPasswordPolicy": null,
        "UserDecryptionOptions": decryption,
    }))
}

fn sync(vault: &Vault) -> Value {
    let kdf = json!({ "kdfType": 0, "iterations": ROUNDS, "memory": null, "parallelism": null });
    let unlock = json!({
        "kdf": kdf, "masterKeyEncryptedUserKey": vault.sealed_key,
        "masterKeyWrappedUserKey": vault.sealed_key, "salt": EMAIL,
    });
    json!({
        "object": "sync", "profile": profile(vault), "folders": vault.folders(), "collections": [],
        "ciphers": vault.ciphers(), "domains": null, "policies": [], "sends": [],
        "userDecryption": { "masterPasswordUnlock": unlock },
    })
}

fn profile(vault: &Vault) -> Value {
    json!({
        "object": "profile", "id": vault.account, "name": "Someone", "email": EMAIL, "emailVerified": true,
        "premium": true, "premiumFromOrganization": false, "culture": "en-US", "twoFactorEnabled": false,
        "key": vault.sealed_key, "privateKey": vault.sealed_sharing, "accountKeys": account_keys(vault), "securityStamp": "stamp",
        "forcePasswordReset": false, "usesKeyConnector": false, "avatarColor": null, "creationDate": vault.revision().to_string(),
        "organizations": vault.organisations(), "providers": [], "providerOrganizations": [],
    })
}

fn account_keys(vault: &Vault) -> Value {
    let pair = json!({ "publicKey": vault.public_sharing, "wrappedPrivateKey": vault.sealed_sharing });
    json!({ "object": "privateKeys", "publicKeyEncryptionKeyPair": pair, "signatureKeyPair": null, "securityState": null })
}

fn config(url: &str) -> Value {
    json!({
        "object": "config", "version": "2026.1.0", "gitHash": "0", "featureStates": {},
        "server": { "name": "Vaultwarden", "url": "https://github.com/dani-garcia/vaultwarden" },
        "environment": {
            "vault": url, "api": format!("{url}/api"), "identity": format!("{url}/identity"),
            "notifications": format!("{url}/notifications"), "sso": "", "cloudRegion": null,
        },
        "settings": { "disableUserRegistration": true },
    })
}

fn list(all: &[Value]) -> Value {
    json!({ "object": "list", "data": all, "continuationToken": null })
}

fn cipher(vault: &Vault, id: &str) -> Option<Value> {
    vault.ciphers().iter().find(|cipher| cipher["id"] == id).cloned()
}

/// Some clients write the names of nested fields in `PascalCase`.
fn camel_case(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let named = |(name, value): (&String, &Value)| (camel_case_name(name), camel_case(value));
            Value::Object(object.iter().map(named).collect::<Map<_, _>>())
        }
        Value::Array(all) => all.iter().map(camel_case).collect(),
        other => other.clone(),
    }
}

fn camel_case_name(name: &str) -> String {
    if name == "SSN" {
        return "ssn".to_owned();
    }
    let mut rest = name.chars();
    rest.next().map_or_else(String::new, |first| first.to_lowercase().chain(rest).collect())
}
