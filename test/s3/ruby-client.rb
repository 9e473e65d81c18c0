# The S3 encryption clients of the AWS SDK for Ruby, driven by one JSON request a line; answers likewise.
require 'json'
require 'base64'
require 'openssl'
require 'aws-sdk-s3'
require 'aws-sdk-kms'

$stdout.sync = true
setup = JSON.parse($stdin.gets)
options = { region: 'us-east-1', access_key_id: 'x', secret_access_key: 'x' }
s3 = Aws::S3::Client.new(**options, endpoint: setup['s3'], force_path_style: true)
kms = Aws::KMS::Client.new(**options, endpoint: setup['kms'])
keys = {
  'aes' => { encryption_key: Base64.decode64(setup['aes']) },
  'rsa' => { encryption_key: OpenSSL::PKey::RSA.new(setup['rsa']) },
  'kms' => { kms_key_id: setup['keyId'], kms_client: kms }
}
schemas = { 'aes' => :aes_gcm, 'rsa' => :rsa_oaep_sha1, 'kms' => :kms_context }
puts JSON.dump(version: Aws::S3::GEM_VERSION)

$stdin.each_line do |line|
  request = JSON.parse(line)
  begin
    kind = request['key']
    shared = { client: s3, envelope_location: request['instructionFile'] ? :instruction_file : :metadata, **keys[kind] }
    client =
      if request['version'] == 1
        Aws::S3::Encryption::Client.new(**shared)
      else
        Aws::S3::EncryptionV2::Client.new(
          **shared,
          key_wrap_schema: schemas[kind],
          content_encryption_schema: :aes_gcm_no_padding,
          security_profile: request['legacy'] ? :v2_and_legacy : :v2
        )
      end
    params = { bucket: setup['bucket'], key: request['name'] }
    params[:kms_encryption_context] = request['context'] if request['context']
    if request['body']
      client.put_object(**params, body: Base64.decode64(request['body']))
      puts JSON.dump(ok: true)
    else
      # Debian's KMS client is older than the KeyId of Decrypt.
      params[:kms_allow_decrypt_with_any_cmk] = true if kind == 'kms' && request['version'] == 2
      puts JSON.dump(ok: true, body: Base64.strict_encode64(client.get_object(**params).body.read))
    end
  rescue StandardError => e
    puts JSON.dump(ok: false, error: "#{e.class}: #{e.message}")
  end
end
