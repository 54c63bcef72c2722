#compdef linnix-rec
# zsh loads this file, as _linnix-rec, at the first <TAB>; the program itself knows what completes it.
eval "$(linnix-rec completion zsh)"
_linnix_rec_completion "$@"
