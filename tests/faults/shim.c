/* Counts what a process changes on disk below one directory, and at the n-th change kills it, lets the change fail, or
 * writes all changes to a log. Loaded with LD_PRELOAD; told what to do by a memory-mapped file (`Control` in shim.py).
 *
 * Not seen: changes through mmap, io_uring or the stdio of C, none of which the package or its libraries use to write. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, OPEN = 2, WRITE = 4, TRUNCATE = 8, ALLOCATE = 16, SYNC = 32, RENAME = 64, UNLINK = 128, MKDIR = 256,
       RMDIR = 512, MODE = 1024 };
enum { COUNT = 0, KILL_BEFORE = 1, KILL_WITHIN = 2, KILL_AFTER = 3, FAIL_ONCE = 4, FAIL_FROM = 5 };
enum { FDS = 4096, NAME = 1024 };

struct control {
    int64_t count;        /* of the changes so far whose kind is in `kinds` */
    int64_t at;           /* the change at which to act, from 1 */
    int32_t action, error, kinds, half, log, delay;
    int64_t fired;        /* the change at which the shim first acted */
    char fired_at[NAME];  /* its kind and path */
    char directory[NAME]; /* the changes below it count */
    char log_path[NAME];
};
struct entry { uint32_t kind, name, other, flags; uint64_t inode, offset, size; };

static struct control *control;
static char mine[FDS];   /* 1: open for writing, below the directory; 2: for reading */
static char *names[FDS]; /* the names of the former, as far as the shim knows */
static int log_fd = -1;

static void attach(const char *path) {
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) return;
    void *map = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (map != MAP_FAILED) control = map;
}
__attribute__((constructor)) static void start(void) {
    const char *path = getenv("FAULTS_CONTROL");
    if (path) attach(path);
}
/* After a fork: another file controls this process. */
void faults_attach(const char *path) { attach(path); log_fd = -1; }

static int below(int dir, const char *path, char *full) {
    if (!control || !control->directory[0] || !path) return 0;
    if (path[0] == '/') snprintf(full, PATH_MAX, "%s", path);
    else {
        char base[PATH_MAX], link[64];
        if (dir == AT_FDCWD) { if (!getcwd(base, sizeof base)) return 0; }
        else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
            ssize_t n = readlink(link, base, sizeof base - 1);
            if (n < 0) return 0;
            base[n] = 0;
        }
        snprintf(full, PATH_MAX, "%s/%s", base, path);
    }
    size_t n = strlen(control->directory);
    return !strncmp(full, control->directory, n) && (!full[n] || full[n] == '/');
}
static int of(int fd) { return control && fd >= 0 && fd < FDS ? mine[fd] : 0; }
static void name_of(int fd, char *full) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, full, PATH_MAX - 1);
    full[n < 0 ? 0 : n] = 0;
}
static void die(void) { syscall(SYS_kill, getpid(), SIGKILL); for (;;) pause(); }

/* Before a change: 0 to make it, -1 to fail with errno, 1 to write one half of it. */
static int begin(int kind, const char *path) {
    if (!control || !(kind & control->kinds)) return 0;
    int64_t n = __atomic_add_fetch(&control->count, 1, __ATOMIC_SEQ_CST);
    if (control->delay) usleep((n * 2654435761u >> 7) % control->delay);
    int acts = control->action == FAIL_FROM ? n >= control->at : n == control->at;
    if (!control->action || !acts) return 0;
    if (!control->fired) {
        control->fired = n;
        snprintf(control->fired_at, NAME, "%d %s", kind, path);
    }
    if (control->action == KILL_BEFORE) die();
    if (control->action == KILL_WITHIN) { if (kind == WRITE) return 1; die(); }
    if (control->action == KILL_AFTER) return 2;
    if (kind == WRITE && control->half && n == control->at) return 1;
    errno = control->error;
    return -1;
}
static void end(int how) { if (how == 2 || (how == 1 && control->action == KILL_WITHIN)) { int e = errno; die(); errno = e; } }

static void note(int kind, uint64_t inode, uint32_t flags, const char *path, const char *other, uint64_t offset,
                 const void *data, size_t size) {
    if (!control || !control->log) return;
    if (log_fd < 0) log_fd = syscall(SYS_openat, AT_FDCWD, control->log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    struct entry entry = {kind, path ? strlen(path) : 0, other ? strlen(other) : 0, flags, inode, offset, size};
    struct iovec parts[4] = {{&entry, sizeof entry}, {(void *)path, entry.name}, {(void *)other, entry.other},
                             {(void *)data, data ? size : 0}};
    syscall(SYS_writev, log_fd, parts, 4);
}
static uint64_t inode_of(int fd) { struct stat s; return fstat(fd, &s) ? 0 : s.st_ino; }
#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static int opened(int dir, const char *path, int flags, mode_t mode) {
    char full[PATH_MAX];
    int writes = (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC, ours = below(dir, path, full), how = 0, new = 0;
    ours = ours && !(flags & O_PATH) && (flags & __O_TMPFILE) != __O_TMPFILE;
    if (ours && writes) {
        new = flags & O_CREAT && faccessat(dir, path, F_OK, 0) != 0;
        how = begin(new ? CREATE : OPEN, full);
        if (how < 0) return -1;
    }
    int fd = syscall(SYS_openat, dir, path, flags, mode);
    if (ours && writes && fd >= 0) {
        if (fd < FDS) { mine[fd] = 1; free(names[fd]); names[fd] = strdup(full); }
        if (new) note(CREATE, inode_of(fd), 0, full, NULL, 0, NULL, 0);
        else if (flags & O_TRUNC) note(TRUNCATE, inode_of(fd), 0, full, NULL, 0, NULL, 0);
    } else if (fd >= 0 && fd < FDS) mine[(unsigned)fd] = ours ? 2 : 0;
    end(how);
    return fd;
}
#define MODE_ARGUMENT mode_t mode = 0; if (flags & (O_CREAT | __O_TMPFILE)) { va_list list; va_start(list, flags); mode = va_arg(list, int); va_end(list); }
int open(const char *path, int flags, ...) { MODE_ARGUMENT return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE_ARGUMENT return opened(AT_FDCWD, path, flags | O_LARGEFILE, mode); }
int openat(int dir, const char *path, int flags, ...) { MODE_ARGUMENT return opened(dir, path, flags, mode); }
int openat64(int dir, const char *path, int flags, ...) { MODE_ARGUMENT return opened(dir, path, flags | O_LARGEFILE, mode); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
/* The shim does not see the renames of safetensors, which calls the kernel itself: the name of the open file tells. */
static void note_rename(int fd) {
    char full[PATH_MAX], *before = names[fd];
    if (!before || !control->log) return;
    name_of(fd, full);
    if (strcmp(full, before) && !strstr(full, " (deleted)")) note(RENAME, 0, 0, before, full, 0, NULL, 0);
}
int close(int fd) {
    if (of(fd) == 1) { note_rename(fd); free(names[fd]); names[fd] = NULL; }
    if (fd >= 0 && fd < FDS) mine[fd] = 0;
    return syscall(SYS_close, fd);
}

static ssize_t written(int fd, const void *data, size_t size, off_t offset, int positioned) {
    char full[PATH_MAX];
    if (of(fd) != 1) return positioned ? syscall(SYS_pwrite64, fd, data, size, offset) : syscall(SYS_write, fd, data, size);
    name_of(fd, full);
    int how = begin(WRITE, full);
    if (how < 0) return -1;
    if (how == 1 && size > 1) size /= 2;
    if (!positioned) {
        struct stat s;
        offset = fcntl(fd, F_GETFL) & O_APPEND && !fstat(fd, &s) ? s.st_size : lseek(fd, 0, SEEK_CUR);
    }
    ssize_t n = positioned ? syscall(SYS_pwrite64, fd, data, size, offset) : syscall(SYS_write, fd, data, size);
    if (n > 0) note(WRITE, inode_of(fd), 0, full, NULL, offset, data, n);
    end(how);
    return n;
}
ssize_t write(int fd, const void *data, size_t size) { return written(fd, data, size, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return written(fd, data, size, offset, 1); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) { return written(fd, data, size, offset, 1); }
ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (of(fd) != 1) return syscall(SYS_writev, fd, parts, count);
    for (int i = 0; i < count; i++) /* a short count is allowed: the caller goes on with the rest */
        if (parts[i].iov_len) return written(fd, parts[i].iov_base, parts[i].iov_len, 0, 0);
    return 0;
}
/* Callers fall back to write. */
ssize_t sendfile(int out, int in, off_t *offset, size_t size) {
    if (of(out) == 1) { errno = EINVAL; return -1; }
    return syscall(SYS_sendfile, out, in, offset, size);
}
ssize_t sendfile64(int out, int in, off64_t *offset, size_t size) { return sendfile(out, in, offset, size); }
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags) {
    if (of(out) == 1) { errno = EXDEV; return -1; }
    return syscall(SYS_copy_file_range, in, from, out, to, size, flags);
}

static int sized(int fd, off_t offset, off_t size, int allocate) {
    char full[PATH_MAX];
    int how = 0;
    if (of(fd) == 1) {
        name_of(fd, full);
        if ((how = begin(allocate ? ALLOCATE : TRUNCATE, full)) < 0) return -1;
    }
    int failed = allocate ? syscall(SYS_fallocate, fd, 0, offset, size) : syscall(SYS_ftruncate, fd, size);
    if (of(fd) == 1 && !failed) note(allocate ? ALLOCATE : TRUNCATE, inode_of(fd), 0, full, NULL, offset + size, NULL, 0);
    end(how);
    return failed;
}
int ftruncate(int fd, off_t size) { return sized(fd, 0, size, 0); }
int ftruncate64(int fd, off64_t size) { return sized(fd, 0, size, 0); }
int posix_fallocate(int fd, off_t offset, off_t size) { return sized(fd, offset, size, 1) ? errno : 0; }
int posix_fallocate64(int fd, off64_t offset, off64_t size) { return sized(fd, offset, size, 1) ? errno : 0; }

static int synced(int fd, int data_only) {
    char full[PATH_MAX];
    int how = 0;
    if (of(fd)) {
        name_of(fd, full);
        if ((how = begin(SYNC, full)) < 0) return -1;
    }
    int failed = syscall(data_only ? SYS_fdatasync : SYS_fsync, fd);
    if (of(fd) && !failed) note(SYNC, inode_of(fd), of(fd) == 2, full, NULL, 0, NULL, 0);
    end(how);
    return failed;
}
int fsync(int fd) { return synced(fd, 0); }
int fdatasync(int fd) { return synced(fd, 1); }

static int moved(int from_dir, const char *from, int to_dir, const char *to) {
    char full[PATH_MAX], other[PATH_MAX];
    int how = 0, ours = below(from_dir, from, full);
    if (below(to_dir, to, other) && ours && (how = begin(RENAME, other)) < 0) return -1;
    int failed = syscall(SYS_renameat, from_dir, from, to_dir, to);
    if (ours && !failed) {
        size_t n = strlen(full);
        note(RENAME, 0, 0, full, other, 0, NULL, 0);
        for (int fd = 0; fd < FDS; fd++)
            if (names[fd] && !strncmp(names[fd], full, n) && (!names[fd][n] || names[fd][n] == '/')) {
                char new[2 * PATH_MAX];
                snprintf(new, sizeof new, "%s%s", other, names[fd] + n);
                free(names[fd]);
                names[fd] = strdup(new);
            }
    }
    end(how);
    return failed;
}
int rename(const char *from, const char *to) { return moved(AT_FDCWD, from, AT_FDCWD, to); }
int renameat(int from_dir, const char *from, int to_dir, const char *to) { return moved(from_dir, from, to_dir, to); }

static int removed(int dir, const char *path, int flags) {
    char full[PATH_MAX];
    int how = 0, ours = below(dir, path, full), kind = flags & AT_REMOVEDIR ? RMDIR : UNLINK;
    if (ours && faccessat(dir, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0 && (how = begin(kind, full)) < 0) return -1;
    int failed = syscall(SYS_unlinkat, dir, path, flags);
    if (ours && !failed) note(kind, 0, 0, full, NULL, 0, NULL, 0);
    end(how);
    return failed;
}
int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int unlinkat(int dir, const char *path, int flags) { return removed(dir, path, flags); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }
int remove(const char *path) { return unlink(path); }

int mkdirat(int dir, const char *path, mode_t mode) {
    char full[PATH_MAX];
    int how = 0, ours = below(dir, path, full);
    if (ours && faccessat(dir, path, F_OK, 0) && (how = begin(MKDIR, full)) < 0) return -1;
    int failed = syscall(SYS_mkdirat, dir, path, mode);
    if (ours && !failed) note(MKDIR, 0, 0, full, NULL, 0, NULL, 0);
    end(how);
    return failed;
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }
int chmod(const char *path, mode_t mode) {
    char full[PATH_MAX];
    int how = 0;
    if (below(AT_FDCWD, path, full) && (how = begin(MODE, full)) < 0) return -1;
    int failed = syscall(SYS_fchmodat, AT_FDCWD, path, mode);
    end(how);
    return failed;
}
int fchmod(int fd, mode_t mode) {
    char full[PATH_MAX];
    int how = 0;
    if (of(fd)) { name_of(fd, full); if ((how = begin(MODE, full)) < 0) return -1; }
    int failed = syscall(SYS_fchmod, fd, mode);
    end(how);
    return failed;
}
