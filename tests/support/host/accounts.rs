//! Who there is on a test host, and how they log in: the files of its /etc.

use std::fs;
use std::path::Path;

/// The configuration of sshd. Keys are where NixOS has them; the key exchange is the quickest.
pub const SSHD_CONFIG: &str = "Port 22
ListenAddress 127.0.0.1
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u
PidFile /run/sshd.pid
UsePAM no
KexAlgorithms curve25519-sha256
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
LogLevel VERBOSE
PrintMotd no
";

/// The accounts of a NixOS machine with the ordinary user `m`, and `users` of services.
pub fn write(tree: &Path, users: &[String]) {
    let mut passwd = "root:x:0:0::/var/root:/bin/sh\nm:x:1000:100::/home/m:/bin/sh\n\
                      sshd:x:997:997::/run/sshd:/usr/sbin/nologin\nnobody:x:65534:65534::/var/empty:/usr/sbin/nologin\n"
        .to_owned();
    let mut group =
        "root:x:0:\nwheel:x:1:m\ntty:x:5:\nkeys:x:96:\nusers:x:100:\nsshd:x:997:\nnogroup:x:65534:\n".to_owned();
    let mut shadow = "root:*:1::::::\nm:*:1::::::\nsshd:!:1::::::\nnobody:!:1::::::\n".to_owned();
    for (id, user) in (900..).zip(users) {
        passwd += &format!("{user}:x:{id}:{id}::/var/empty:/usr/sbin/nologin\n");
        group += &format!("{user}:x:{id}:\n");
        shadow += &format!("{user}:!:1::::::\n");
    }
    let nsswitch = "passwd: files\ngroup: files\nshadow: files\nhosts: files\n".to_owned();
    let hosts = "127.0.0.1 localhost\n".to_owned();
    let files =
        [("passwd", passwd), ("group", group), ("shadow", shadow), ("nsswitch.conf", nsswitch), ("hosts", hosts)];
    for (name, text) in files {
        fs::write(tree.join("etc").join(name), text).expect("the accounts are written");
    }
}
