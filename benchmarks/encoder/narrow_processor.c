/* Hide wide vector instructions from a process, so that libraries take their AVX2 kernels on a newer processor.

   cc -shared -fPIC -O2 -o narrow.so benchmarks/encoder/narrow_processor.c
   LD_PRELOAD=./narrow.so python ...

   Linux on x86-64, on a processor with CPUID faulting ("cpuid_fault" in /proc/cpuinfo). The CPUID instruction then raises
   SIGSEGV, and the handler answers in its place: what the processor says, less what the variable NARROW names. "vnni" hides
   VNNI and AMX; "avx512", the default, hides AVX512 as well, with its BF16 and FP16; "avx2" hides AVX2 and FMA too. All
   other instructions run on the processor at full speed. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_SET_CPUID 0x1012
#define BIT(n) (1u << (n))

static int level = 1; /* 0: no VNNI; 1: no AVX512; 2: no AVX2 */

static void mask(unsigned leaf, unsigned part, unsigned *a, unsigned *b, unsigned *c, unsigned *d) {
    if (leaf == 1 && level == 2) *c &= ~BIT(12); /* FMA */
    if (leaf == 7 && part == 0) {
        *c &= ~BIT(11);                      /* AVX512_VNNI */
        *d &= ~(BIT(22) | BIT(24) | BIT(25)); /* AMX */
        if (level >= 1) {
            *b &= ~(BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31));
            *c &= ~(BIT(1) | BIT(6) | BIT(12) | BIT(14));
            *d &= ~(BIT(2) | BIT(3) | BIT(8) | BIT(23));
        }
        if (level == 2) *b &= ~BIT(5); /* AVX2 */
    }
    if (leaf == 7 && part == 1) {
        *a &= ~(BIT(4) | BIT(21)); /* AVX_VNNI, AMX_FP16 */
        *d &= ~(BIT(4) | BIT(5) | BIT(8) | BIT(10)); /* AVX_VNNI_INT8, AVX_NE_CONVERT, AMX_COMPLEX, AVX_VNNI_INT16 */
        if (level >= 1) {
            *a &= ~(BIT(5) | BIT(23)); /* AVX512_BF16, AVX_IFMA */
            *d &= ~BIT(19);            /* AVX10 */
        }
    }
}

static void answer(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *code = (const unsigned char *)registers[REG_RIP];
    if (code[0] != 0x0f || code[1] != 0xa2) { /* another fault: let it end the process, as it would have */
        signal(number, SIG_DFL);
        return;
    }
    unsigned leaf = registers[REG_RAX], part = registers[REG_RCX], a, b, c, d;
    syscall(SYS_arch_prctl, ARCH_SET_CPUID, 1);
    __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(leaf), "c"(part));
    syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0);
    mask(leaf, part, &a, &b, &c, &d);
    registers[REG_RAX] = a;
    registers[REG_RBX] = b;
    registers[REG_RCX] = c;
    registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
    (void)info;
}

__attribute__((constructor)) static void begin(void) {
    const char *narrow = getenv("NARROW");
    struct sigaction action;
    if (narrow) level = strcmp(narrow, "vnni") == 0 ? 0 : strcmp(narrow, "avx2") == 0 ? 2 : 1;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = answer;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &action, NULL);
    if (syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0) != 0) {
        static const char words[] = "narrow_processor: this processor cannot hide instructions (no CPUID faulting)\n";
        if (write(2, words, sizeof words - 1)) {}
        _exit(3);
    }
}
